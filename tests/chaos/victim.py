"""A coordinator to be killed or interrupted: says when its flow runs, which never ends by itself."""

from __future__ import annotations

import time

from orchestrator import Flow, node


@node
def work(number: int) -> int:
    time.sleep(0.002 * (number % 10))
    return number


def main() -> None:
    print("begins", flush=True)
    while True:
        with Flow() as flow:
            for number in range(200):
                work(number)
        flow.run(workers=2)


if __name__ == "__main__":
    main()
