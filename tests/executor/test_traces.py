"""A stack shows the user's frames (FAULTS P8)."""

from __future__ import annotations

from pathlib import Path

from executor.traces import of_the_user

OURS = str(Path(__file__).parents[2] / "executor" / "hub.py")


def test_frames_of_ours_are_left_out_and_those_of_users_stay() -> None:
    trace = (
        "Fatal Python error: Segmentation fault\n\n"
        'Thread 0x1 (most recent call first):\n  File "threading.py", line 1 in run\n\n'
        'Current thread 0x2 (most recent call first):\n  File "/home/me/fit.py", line 3 in fit\n'
        f'  File "{OURS}", line 7 in step\n  File "{OURS}", line 9 in run\n\n'
        "Extension modules: numpy"
    )
    assert of_the_user(trace) == (
        "Fatal Python error: Segmentation fault\n\n"
        'Thread 0x1 (most recent call first):\n  File "threading.py", line 1 in run\n\n'
        'Current thread 0x2 (most recent call first):\n  File "/home/me/fit.py", line 3 in fit\n\n'
        "Extension modules: numpy"
    )


def test_a_stack_that_is_all_ours_stays_as_it_is() -> None:
    trace = f'Current thread 0x2 (most recent call first):\n  File "{OURS}", line 7 in step'
    assert of_the_user(trace) == trace
    assert of_the_user("") == ""
