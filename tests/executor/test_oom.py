"""What the kernel says of processes that it has killed for want of memory (FAULTS F4)."""

from __future__ import annotations

from pathlib import Path

from executor.oom import OomWatch, first_count, kernel_kills


def test_the_count_is_found_in_files_of_each_kind(tmp_path: Path) -> None:
    files = {
        "version 2": "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n",
        "version 1": "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n",
        "machine": "pgfault 1\noom_kill 7\ndrop_pagecache 0\n",
        "old kernel": "oom_kill_disable 0\n",
    }
    paths = {name: tmp_path / name for name in files}
    for name, text in files.items():
        paths[name].write_text(text)
    assert [first_count([path]) for path in paths.values()] == [2, 5, 7, 0]
    assert first_count([tmp_path / "missing", paths["old kernel"], paths["machine"]]) == 7


def test_this_machine_says_something_or_nothing() -> None:
    assert kernel_kills() >= 0


def test_each_kill_of_the_kernel_explains_one_death_and_none_before_the_watch() -> None:
    kills = 3
    watch = OomWatch(lambda: kills)
    assert not watch.explains_kill()
    kills = 5
    assert [watch.explains_kill() for _ in range(3)] == [True, True, False]


def test_what_the_kernel_has_killed_of_others_explains_no_death_here_later() -> None:
    """Days may lie between them: whoever is killed by hand then had memory enough."""
    kills = 0
    watch = OomWatch(lambda: kills)
    kills = 2
    watch.forget_others()
    assert watch.explains_kill()  # the death may be heard of a little later
    watch.forget_others()
    assert not watch.explains_kill()
    kills = 3
    watch.forget_others()
    assert watch.explains_kill()
    assert not watch.explains_kill()
