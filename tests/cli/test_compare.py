"""`latentlab compare` on trained models."""

import json

import pytest

from latentlab.cli import main


@pytest.fixture
def run(tiny, monkeypatch, capsys):
    monkeypatch.chdir(tiny.root)

    def call(*argv):
        main(["compare", *argv])
        return capsys.readouterr().out

    return call


def test_the_errors_of_the_images_have_the_stored_mean(run, tiny):
    """The interval is about the difference of the numbers that the evaluation has stored."""
    content = json.loads(run("vae", "linear_ae", "--json"))
    rows = {metric["key"]: metric for metric in content["metrics"]}
    for key in ("reconstruction_mse", "reconstruction_sse", "psnr_db", "ssim"):
        difference = rows[key]["differences"]["linear_ae"]
        low, high = difference["interval_95"]
        assert low < difference["difference"] < high
        assert difference["num_images"] == 108
    assert rows["fid"]["differences"]["linear_ae"]["interval_95"] is None
    assert set(content["config"]["model.class_path"]) == {"vae", "linear_ae"}


def test_a_model_without_an_encoder_has_no_interval(run):
    text = run("vae", "dcgan", "linear_ae")
    assert "No interval for dcgan: it has no encoder" in text
    assert "n = 108 test images" in text
    assert "dcgan − vae" in text


def test_without_intervals_no_model_is_loaded(fork, capsys):
    for name in ("vae", "dcgan"):
        (fork.root / "runs" / name / "weights.pt").unlink()
    main(["compare", "vae", "dcgan", "--no-intervals", "--project", str(fork.root)])
    out = capsys.readouterr().out
    assert "FID" in out
    assert "[" not in out.splitlines()[2]


def test_models_of_other_images_are_not_paired(fork, capsys):
    path = fork.root / "runs" / "vae" / "experiment.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "data_sha256": "0"}))
    main(["compare", "vae", "linear_ae", "--project", str(fork.root)])
    assert "No interval for vae: it was trained on other images" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_other_formats(run, form):
    out = run("vae", "linear_ae", f"--{form}")
    assert out.startswith({"markdown": "| metric |", "latex": r"\begin{tabular}"}[form])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["vae"], "error: only one model (vae): give two or more"),
        (["vae", "linear"], "error: unknown model 'linear': did you mean 'linear_ae'? measured"),
        (["vae", "wgan"], "error: wgan is not measured yet: run `dvc repro evaluate@wgan`"),
    ],
)
def test_a_name_without_results_is_an_error(run, capsys, argv, message):
    with pytest.raises(SystemExit) as stopped:
        run(*argv)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
