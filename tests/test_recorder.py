"""What is due before the first answer, whatever goes wrong there. What a recorder counts is in `test_metrics`."""

from red_middleware.counting.enclosing import Source
from red_middleware.metrics import recorder_of

from .counts import fresh_metrics, requests
from .drive import count


class Broken:
    """A mounting that fails to declare its routes."""

    def __init__(self) -> None:
        self.asked = 0

    def learn(self, source: Source) -> None:
        self.asked += 1
        raise LookupError


def test_what_fails_before_the_first_answer_is_a_fault_and_no_more() -> None:
    """Requests are counted all the same, and the mounting is not asked again."""
    metrics, broken = fresh_metrics(), Broken()
    recorder_of(metrics).mount(broken)
    count(metrics, "/a")
    count(metrics, "/a")
    assert requests(metrics) == {("GET", "/a", "200"): 2}
    assert metrics.snapshot()["red_instrumentation_errors_total"] == 1.0
    assert broken.asked == 1
