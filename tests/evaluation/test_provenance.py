"""When a result was measured, and with what."""

from datetime import UTC, datetime

from latentlab.evaluation.provenance import provenance


def test_time_versions_and_the_run_are_stored(tmp_path):
    before = datetime.now(UTC).replace(microsecond=0)
    stored = provenance(tmp_path, "abc")
    assert before <= datetime.fromisoformat(stored["time"]) <= datetime.now(UTC)
    assert stored["commit"] == "abc"
    assert stored["versions"]["torch"][0].isdigit()
    assert stored["mlflow_run_id"] == ""
    (tmp_path / "mlflow_run_id").write_text("0123\n")
    assert provenance(tmp_path, "")["mlflow_run_id"] == "0123"
