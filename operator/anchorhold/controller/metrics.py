"""What the controller counts, named as controller-runtime names it. Never a label with a run."""

from prometheus_client import Counter, Gauge, Histogram

QUEUE_DEPTH = Gauge("workqueue_depth", "Runs that wait to be looked at.")
RECONCILES = Counter("reconcile_total", "Looks at a run.", ["result"])
RECONCILE_SECONDS = Histogram("reconcile_time_seconds", "How long a look at a run takes.")
REQUESTS = Counter(
    "api_requests_total", "Requests to the API server.", ["verb", "resource", "code"]
)
TRANSITIONS = Counter("run_transitions_total", "Changes of a run's state.", ["reason"])


def count_request(verb: str, resource: str, code: int) -> None:
    """Count one answer of the API server."""
    REQUESTS.labels(verb, resource, str(code)).inc()


def count_reconcile(result: str, seconds: float) -> None:
    """Count one look at a run."""
    RECONCILES.labels(result).inc()
    RECONCILE_SECONDS.observe(seconds)
