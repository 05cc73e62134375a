"""A system that is measured like a peer: a program that needs `benchmarks.driver` only. It does no work at all."""

import os
import sys

from benchmarks.driver import Driver, Idle, Kind, Unsupported, Worked, due_times, serve


class FakePeer(Driver):
    """Figures that a test knows; it has no durable sleeps and no parallel steps, and fails at W3."""

    def batch(self, workflows: int, steps: int, kind: Kind) -> Worked:
        """A millisecond for each step."""
        if kind == "parallel":
            raise Unsupported("its steps run one after the other")
        os.write(1, b"noise that is no answer\n")
        return Worked(0.001 * workflows * steps, None)

    def latency(self, times: int) -> list[float]:
        """What goes wrong in a peer."""
        raise RuntimeError("the peer is out of order")

    def idle(self, seconds: float) -> Idle:
        """A tenth of a core."""
        return Idle(seconds, 0.1 * seconds, transactions=round(3 * seconds))


class Sleeper(FakePeer):
    """One that has sleeps: each comes as late as its place."""

    def sleepers(self, number: int, spread: float) -> list[float]:
        """See the class."""
        due = due_times(0.0, number, spread, 5.0)
        return [0.01 * place for place, _ in enumerate(due)]


if __name__ == "__main__":
    serve(Sleeper() if "sleeps" in sys.argv else FakePeer())
