"""A coordinator to be killed or interrupted: says when its flow runs, which never ends by itself."""

from __future__ import annotations

import time

from orchestrator import Flow, node


@node
def work(number: int) -> int:
    time.sleep(0.002 * (number % 10))
    return number


def run(nodes: int) -> None:
    with Flow() as flow:
        for number in range(nodes):
            work(number)
    flow.run(workers=2)


def main() -> None:
    run(2)  # imports what runs need: Python drops an interrupt in the clean-up of an import's lock
    print("begins", flush=True)
    while True:
        run(200)


if __name__ == "__main__":
    main()
