"""`latentlab` on models that the whole pipeline has trained: files, seeds, messages, exit codes."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import latentlab
from latentlab.cli import main
from latentlab.data.prepared import read_split


@pytest.fixture
def run(tiny, tmp_path, monkeypatch):
    """Call the command, standing in the project."""
    monkeypatch.chdir(tiny.root)
    return lambda *argv: main([str(a) for a in argv])


@pytest.fixture
def digits(tiny, tmp_path):
    """Three test images as PNG files of their own size, which reading must not change."""
    folder = tmp_path / "digits"
    folder.mkdir()
    images = read_split(tiny.root / "data" / "prepared", "test").images[:3]
    for row, pixels in enumerate(images):
        Image.fromarray(pixels[0].numpy()).save(folder / f"{row}.png")
    return folder, images


def refused(run, capsys, *argv):
    with pytest.raises(SystemExit) as stopped:
        run(*argv)
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("model", ["linear_ae", "vae", "dcgan"])
def test_sample_draws_a_grid_that_its_seed_decides(run, tmp_path, capsys, model):
    paths = [tmp_path / f"{name}.png" for name in ("a", "b", "c")]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        run("sample", model, "-n", 12, "--columns", 4, "--seed", seed, "-o", path)
        assert capsys.readouterr().out == f"12 samples of {model}: {path}\n"
    a, b, c = (path.read_bytes() for path in paths)
    assert a == b != c
    with Image.open(paths[0]) as picture:
        assert picture.width > picture.height, "4 columns, 3 rows"


def test_reconstruct_tells_the_error_of_every_image(run, tmp_path, digits, tiny, capsys):
    folder, images = digits
    run("reconstruct", "linear_ae", folder, "-o", tmp_path / "new" / "out.png")
    lines = capsys.readouterr().out.splitlines()
    x = images / 255
    trained = latentlab.load("linear_ae", project=tiny.root)
    sse = (trained.reconstruct(x) - x).square().flatten(1).sum(1)
    told = [float(line.split("SSE ")[1]) for line in lines[:3]]
    assert told == pytest.approx(sse.tolist(), abs=1e-3)
    assert all(f"{row}.png" in line for row, line in enumerate(lines[:3]))
    with Image.open(tmp_path / "new" / "out.png") as picture:
        picture.verify()


def test_encode_writes_codes_and_names(run, tmp_path, digits, tiny):
    folder, images = digits
    out = tmp_path / "new" / "codes.npz"
    run("encode", "vae", folder / "2.png", folder / "0.png", "-o", out)
    with np.load(out, allow_pickle=False) as file:
        codes, names = file["codes"], file["names"]
    expected = latentlab.load("vae", project=tiny.root).encode(images[[2, 0]] / 255)
    assert codes.dtype == np.float32
    np.testing.assert_allclose(codes, expected.numpy(), rtol=1e-5, atol=1e-6)
    assert [name.rsplit("/")[-1] for name in names] == ["2.png", "0.png"]
    assert [p.name for p in out.parent.iterdir()] == ["codes.npz"]


def test_images_of_any_size_and_colour_are_fitted(run, tmp_path, capsys):
    Image.new("RGBA", (50, 30), (255, 0, 0, 128)).save(tmp_path / "big.png")
    run("encode", "linear_ae", tmp_path / "big.png", "-o", tmp_path / "codes.npz")
    assert "codes (1, 32) of linear_ae" in capsys.readouterr().out


def test_results_prints_the_table_and_the_page(run, tiny, capsys):
    run("results")
    out = capsys.readouterr().out
    for name in ("linear_ae", "vae", "dcgan", "Real images", "Raw pixels", "Uniform noise"):
        assert name in out
    assert f"page: {tiny.root / 'reports' / 'index.html'}" in out


def test_the_project_and_run_folders_can_be_named(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["sample", "vae", "--project", str(tiny.root), "-n", "4"])
    main(["sample", str(tiny.root / "runs" / "vae"), "-n", "4", "-o", "again.png"])
    assert (tmp_path / "samples.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    error = refused(lambda *a: main(a), capsys, "sample", "vae")
    assert error.startswith("error: no params.yaml in")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["sample", "vea"], "error: unknown model 'vea': trained: dcgan, judge, linear_ae, vae"),
        (["sample", "stacked_ae"], "error: 'stacked_ae' is not trained yet: `dvc repro train@st"),
        (["sample", "judge"], "error: judge has no latent sampler"),
        (["sample", "vae", "--device", "warp"], "error: device 'warp' cannot be used"),
        (["sample", "vae", "-o", "runs"], "error: "),
        (["sample", "vae", "-n", "0"], "must be ≥ 1, got 0"),
        (["sample", "vae", "--cout", "3"], "unrecognized arguments: --cout"),
        (["encode", "vae", "absent.png"], "absent.png"),
        (["encode", "vae", "params.yaml"], "params.yaml"),
        (["encode", "vae"], "the following arguments are required: images"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(run, capsys, argv, message):
    error = refused(run, capsys, *argv)
    assert message in error
    assert "Traceback" not in error


def test_an_empty_folder_is_a_mistake(run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    error = refused(run, capsys, "encode", "vae", tmp_path / "empty", "-o", tmp_path / "c.npz")
    assert str(tmp_path / "empty") in error
    assert not (tmp_path / "c.npz").exists()


def test_a_pickle_as_weights_is_refused_unexecuted(fork, capsys):
    class Payload:
        def __reduce__(self):
            return (fork.root / "executed").touch, ()

    torch.save(Payload(), fork.root / "runs" / "vae" / "weights.pt")
    error = refused(lambda *a: main(a), capsys, "sample", "vae", "--project", str(fork.root))
    assert "weights.pt does not hold this model's weights" in error
    assert not (fork.root / "executed").exists()


@pytest.mark.parametrize("command", [[], ["sample"], ["encode"]])
def test_help_answers_without_the_slow_imports(repo, command):
    code = (
        "import sys\n"
        "from latentlab.cli import main\n"
        "try:\n"
        f"    main({[*command, '--help']!r})\n"
        "except SystemExit as stop:\n"
        "    assert stop.code == 0\n"
        "slow = {'torch', 'lightning', 'mlflow', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "assert not slow, slow\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(repo / "src")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("usage: latentlab")
