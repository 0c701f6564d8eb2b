"""The `latentlab` command on trained models: files, seeds, messages and exit codes."""

import argparse
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import latentlab
from latentlab.cli import main
from latentlab.cli.arguments import parser
from latentlab.config import load_project
from latentlab.data.prepared import read_split


@pytest.fixture
def run(tiny, tmp_path, monkeypatch):
    """Call the command in the folder of the project."""
    monkeypatch.chdir(tiny.root)
    return lambda *argv: main([str(a) for a in argv])


@pytest.fixture
def digits(tiny, tmp_path):
    """Three test images as PNG files; reading must not change their pixels."""
    folder = tmp_path / "digits"
    folder.mkdir()
    images = read_split(tiny.root / "data" / "prepared", "test").images[:3]
    for row, pixels in enumerate(images):
        Image.fromarray(pixels[0].numpy()).save(folder / f"{row}.png")
    return folder, images


def fails(run, capsys, *argv):
    with pytest.raises(SystemExit) as stopped:
        run(*argv)
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("model", ["linear_ae", "vae", "dcgan"])
def test_sample_saves_a_grid_and_equal_seeds_give_equal_images(run, tmp_path, capsys, model):
    paths = [tmp_path / f"{name}.png" for name in ("a", "b", "c")]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        run("sample", model, "-n", 12, "--columns", 4, "--seed", seed, "-o", path)
        assert capsys.readouterr().out == f"12 samples of {model}: {path}\n"
    a, b, c = (path.read_bytes() for path in paths)
    assert a == b != c
    with Image.open(paths[0]) as picture:
        assert picture.width > picture.height, "4 columns, 3 rows"


def test_reconstruct_prints_the_error_of_every_image(run, tmp_path, digits, tiny, capsys):
    folder, images = digits
    run("reconstruct", "linear_ae", folder, "-o", tmp_path / "new" / "out.png")
    lines = capsys.readouterr().out.splitlines()
    x = images / 255
    trained = latentlab.load("linear_ae", project=tiny.root)
    sse = (trained.reconstruct(x) - x).square().flatten(1).sum(1)
    errors = [float(line.split("SSE ")[1]) for line in lines[:3]]
    assert errors == pytest.approx(sse.tolist(), abs=1e-3)
    assert all(f"{row}.png" in line for row, line in enumerate(lines[:3]))
    with Image.open(tmp_path / "new" / "out.png") as picture:
        picture.verify()


@pytest.mark.parametrize("command", ["reconstruct", "anomalies"])
def test_an_image_is_not_replaced_by_the_output(run, capsys, digits, command):
    image = digits[0] / "1.png"
    content = image.read_bytes()
    for given in (image, digits[0]):
        message = fails(run, capsys, command, "linear_ae", given, "-o", image)
        assert "1.png is one of the images, and would be replaced" in message
        assert image.read_bytes() == content


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
    error = fails(lambda *a: main(a), capsys, "sample", "vae")
    assert error.startswith("error: no params.yaml in")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["sample", "vea"],
            "error: unknown model 'vea': did you mean 'vae'? trained: classifier, dcgan, linear",
        ),
        (
            ["sample", "stacked_ae"],
            "error: 'stacked_ae' is not trained yet: list it under `models` in",
        ),
        (["sample", "classifier"], "error: classifier is no generative model: it has no latent"),
        (["export", "classifier"], "error: classifier is no generative model"),
        (
            ["sample", "classification"],
            "error: 'classification' is a task, no model: give the name",
        ),
        (["sample", "vae", "--device", "warp"], "error: The device 'warp' cannot be used"),
        (["sample", "vae", "-o", "runs"], "-o/--output: must end in .png, got 'runs'"),
        (["sample", "vae", "-o", "x.txt"], "-o/--output: must end in .png, got 'x.txt'"),
        (["encode", "vae", "a.png", "-o", "x.csv"], "must end in .npz, got 'x.csv'"),
        (["sample", "vae", "-n", "0"], "must be a whole number ≥ 1, got '0'"),
        (["sample", "vae", "-n", "abc"], "must be a whole number ≥ 1, got 'abc'"),
        (["sample", "vae", "--seed", str(2**63)], "must be a whole number, 0 to 2^63 - 1, got '92"),
        (["sample", "vae", "--class", "3"], "error: vae is not class-conditional, so no class can"),
        (["compress", "vae", "x", "--step", "a"], "--step: must be a number > 0, got 'a'"),
        (["serve", "vae", "--port", "0"], "--port: must be a port, 1 to 65535, got '0'"),
        (["init", "params.yaml"], "'params.yaml' is a file: give the name of a folder"),
        (["smaple", "vae"], "error: unknown command 'smaple': did you mean 'sample'? commands are"),
        (["sample", "vae", "--cout", "3"], "unrecognized arguments: --cout"),
        (["encode", "vae", "absent.png"], "absent.png"),
        (["encode", "vae", "params.yaml"], "params.yaml"),
        (["encode", "vae"], "the following arguments are required: images"),
        ([], "the following arguments are required: COMMAND"),
        (["--verbose", "results"], "error: unknown option '--verbose' in front of a command: give"),
        (["serve", "classifier"], "error: the classifier is not logged as a model of MLflow: give"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(run, capsys, argv, message):
    error = fails(run, capsys, *argv)
    assert message in error
    assert "Traceback" not in error


def test_an_empty_folder_is_an_error(run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    error = fails(run, capsys, "encode", "vae", tmp_path / "empty", "-o", tmp_path / "c.npz")
    assert str(tmp_path / "empty") in error
    assert not (tmp_path / "c.npz").exists()


def test_a_pickle_in_place_of_weights_is_not_executed(fork, capsys):
    class Payload:
        def __reduce__(self):
            return (fork.root / "executed").touch, ()

    torch.save(Payload(), fork.root / "runs" / "vae" / "weights.pt")
    error = fails(lambda *a: main(a), capsys, "sample", "vae", "--project", str(fork.root))
    assert "weights.pt does not hold this model's weights" in error
    assert not (fork.root / "executed").exists()


@pytest.mark.parametrize(
    "command", [[], ["init"], ["select"], ["sample"], ["compare"], ["export"], ["serve"], ["check"]]
)
def test_help_needs_no_slow_import(repo, command):
    slow = {"torch", "lightning", "mlflow", "numpy", "matplotlib", "rich", "yaml"}
    slow |= {"tempfile", "difflib", "ctypes", "statistics"}  # of Python, each 2 to 9 ms
    out, modules = in_new_process(repo, [*command, "--help"])
    assert not slow & modules
    assert out.startswith("usage: latentlab")


def in_new_process(repo, argv, *, exit_code=0, **environment):
    """What a command prints, and the modules that it has imported."""
    code = (
        "import sys\n"
        "from latentlab.cli import main\n"
        "try:\n"
        f"    main({[str(a) for a in argv]!r})\n"
        "except SystemExit as stop:\n"
        f"    assert (stop.code or 0) == {exit_code}, stop.code\n"
        "print('MODULES', *sys.modules)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(repo / "src"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    out, _, modules = ran.stdout.rpartition("MODULES ")
    return out, set(modules.split())


@pytest.mark.parametrize(
    ("argv", "start"),
    [
        (["results"], "model "),
        (["results", "--json"], "{"),
        (["results", "--sort", "kid", "--csv"], "model,type,family"),
        (["compare", "vae", "dcgan"], "metric "),
        (["select", "vae"], "models: vae"),
        (["completion", "bash"], "# AUTOMAT"),
        (["--version"], f"latentlab {latentlab.__version__}"),
    ],
)
def test_commands_that_need_no_torch_do_not_import_it(fork, repo, argv, start):
    project = ["--project", fork.root] if argv[0] in ("results", "select", "compare") else []
    out, modules = in_new_process(repo, [*argv, *project])
    assert out.startswith(start)
    assert not {"torch", "lightning", "mlflow", "scipy", "rich"} & modules
    if argv[0] == "results":
        assert not {"numpy", "tempfile", "difflib", "ctypes", "statistics", "zipfile"} & modules


@pytest.mark.parametrize(
    ("argv", "shown"),
    [(["results"], "\x1b[1m"), (["compare", "vae", "dcgan"], "2 trainings")],
)
def test_models_with_seeds_are_compared_without_numpy(fork, repo, argv, shown):
    """On a terminal, `results` marks ties: over trainings, they need no values of images."""
    results = fork.root / "results"
    for name in ("linear_ae", "vae", "dcgan"):
        shutil.copytree(results / name, results / f"{name}@1")
        metrics = json.loads((results / name / "metrics.json").read_text())
        changed = {k: v * 1.1 if isinstance(v, float) else v for k, v in metrics.items()}
        (results / f"{name}@1" / "metrics.json").write_text(json.dumps(changed))
    fork.edit("params.yaml", more_seeds=[1])
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    out, modules = in_new_process(repo, [*argv, "--project", fork.root], **terminal)
    assert shown in out
    assert not {"torch", "lightning", "mlflow", "scipy", "numpy", "rich"} & modules


def test_only_the_given_command_gets_its_options():
    def options(parser):
        (action,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        return {name for name, sub in action.choices.items() if len(sub._actions) > 1}

    assert options(parser("results")) == {"results"}
    assert options(parser("")) == set()
    assert len(options(parser())) == 16


@pytest.mark.parametrize("images", ["absent", "texts"])
def test_init_refuses_a_wrong_folder_before_the_slow_imports(repo, tmp_path, images):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no image")
    argv = ["init", tmp_path / "new", "--images", tmp_path / images]
    _, modules = in_new_process(repo, argv, exit_code=2)
    assert not {"torch", "lightning"} & modules
    assert not (tmp_path / "new").exists()


def test_the_package_is_the_command(repo):
    ran = subprocess.run(
        [sys.executable, "-m", "latentlab", "--version"],
        env={"PYTHONPATH": str(repo / "src")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout == f"latentlab {latentlab.__version__}\n"


def test_a_closed_pipe_is_no_traceback(tiny):
    """The reader of a pipe leaves before the table is printed, as in `latentlab results | head`."""
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run(
        [sys.executable, "-m", "latentlab", "results"],
        cwd=tiny.root,
        env=tiny.environment(),
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(write)
    assert (ran.returncode, ran.stderr) == (141, "")


def test_an_image_of_a_class_that_does_not_exist(run, capsys, conditional):
    error = fails(run, capsys, "sample", conditional, "--class", "10")
    assert "The model has no class '10'. Classes are 0 to 9 (0, 1, 2, 3" in error


def test_all_classes_are_given_alone(run, capsys, conditional):
    error = fails(run, capsys, "sample", conditional, "--class", "all", "--class", "3")
    assert "error: --class all stands for every class: give it without other classes" in error


def test_sample_of_classes_has_one_column_for_each(run, conditional, tmp_path):
    one, two, every = (tmp_path / f"{name}.png" for name in ("one", "two", "every"))
    run("sample", conditional, "--class", "3", "-n", 4, "-o", one)
    run("sample", conditional, "--class", "3", "--class", "7", "-n", 6, "-o", two)
    run("sample", conditional, "--class", "all", "-n", 10, "-o", every)
    sizes = []
    for path in (one, two, every):
        with Image.open(path) as picture:
            sizes.append(picture.size)
    assert sizes[0][0] == sizes[0][1], "2 × 2 images"
    assert sizes[1][0] < sizes[1][1], "2 columns, 3 rows"
    assert sizes[2][0] > 8 * sizes[2][1], "10 columns, 1 row"


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_commands_and_names_of_models(shell, capsys):
    main(["completion", shell])
    script = capsys.readouterr().out
    assert "decompress" in script
    assert ("configs/*.yaml" in script) == (shell != "tcsh")


def test_bash_completes_the_name_of_a_model(run, tmp_path, capsys):
    run("completion", "bash")
    (tmp_path / "complete.sh").write_text(capsys.readouterr().out)
    ran = subprocess.run(
        ["bash", "-c", f". {tmp_path}/complete.sh; _latentlab_models bet"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout == "beta_vae\n"


def test_anomalies_are_sorted_and_compared_with_the_training_images(
    run, tmp_path, digits, tiny, capsys
):
    folder, _ = digits
    noise = torch.randint(256, (8, 8), generator=torch.Generator().manual_seed(0))
    Image.fromarray(noise.to(torch.uint8).numpy()).save(folder / "noise.png")
    run("anomalies", "linear_ae", folder, "-n", 2, "-o", tmp_path / "new" / "odd.png")
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[0][0].endswith("noise.png")
    assert lines[0][2] == "above 100.0 %"
    assert lines[-1][0].startswith("2 of 4 images with the largest error of linear_ae: ")
    printed = [float(line[1].removeprefix("SSE ")) for line in lines[:-1]]
    assert printed == sorted(printed, reverse=True)
    trained = latentlab.load("linear_ae", project=tiny.root)
    train = read_split(tiny.root / "data" / "prepared", "train").images / 255
    errors = (trained.reconstruct(train) - train).square().flatten(1).sum(1)
    for sse, line in zip(printed, lines[:-1], strict=True):
        percent = float(line[2].removeprefix("above ").removesuffix(" %"))
        assert percent == pytest.approx(100 * float((errors < sse).double().mean()), abs=0.11)
    with Image.open(tmp_path / "new" / "odd.png") as picture:
        picture.verify()


def test_anomalies_need_the_training_images_of_the_model(fork, digits, capsys):
    meta = fork.root / "data" / "prepared" / "meta.json"
    meta.write_text(meta.read_text().replace('"sha256": "', '"sha256": "0'))
    argv = ["anomalies", "vae", str(digits[0]), "--project", str(fork.root)]
    error = fails(lambda *a: main(a), capsys, *argv)
    assert "contains other images than the training data of vae" in error


@pytest.mark.parametrize("model", ["linear_ae", "dcgan"])
def test_compressed_images_are_read_back_as_reconstructions(
    run, tmp_path, digits, tiny, capsys, model
):
    folder, images = digits
    file, out = tmp_path / "new" / "three.latentz", tmp_path / "out"
    run("compress", model, folder, "--step", 0.01, "-o", file)
    assert f"3 images in {file.stat().st_size:,} bytes by {model}" in capsys.readouterr().out
    run("decompress", file, "-o", out)
    assert capsys.readouterr().out == f"3 images of {file}: {out}\n"
    assert sorted(path.name for path in out.iterdir()) == ["0.png", "1.png", "2.png"]
    x_hat = latentlab.load(model, project=tiny.root).reconstruct(images / 255)
    for row in range(3):
        with Image.open(out / f"{row}.png") as picture:
            found = np.asarray(picture) / 255
        assert np.abs(found - x_hat[row, 0].numpy()).max() < 0.02


def test_a_larger_step_gives_a_smaller_file_and_the_default_adds_a_tenth_to_the_error(
    run, tmp_path, tiny, digits
):
    folder = tmp_path / "many"
    folder.mkdir()
    images = read_split(tiny.root / "data" / "prepared", "test").images
    for row, pixels in enumerate(images):
        Image.fromarray(pixels[0].numpy()).save(folder / f"{row:03d}.png")
    files = [tmp_path / f"{name}.latentz" for name in ("fine", "coarse", "default")]
    for file, step in zip(files, (["--step", 0.05], ["--step", 0.5], []), strict=True):
        run("compress", "linear_ae", folder, *step, "-o", file)
    assert files[0].stat().st_size > files[1].stat().st_size
    run("decompress", files[2], "-o", tmp_path / "out")
    pictures = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "out").iterdir())]
    x, found = images[:, 0].numpy() / 255, np.stack(pictures) / 255
    x_hat = latentlab.load("linear_ae", project=tiny.root).reconstruct(images / 255)[:, 0].numpy()
    own, all_ = (((y - x) ** 2).sum((1, 2)).mean() for y in (x_hat, found))
    assert 1.0 < all_ / own < 1.2


def test_a_damaged_file_and_a_file_of_other_weights_are_errors(fork, tmp_path, digits, capsys):
    here = ["--project", str(fork.root)]
    file = tmp_path / "a.latentz"
    main(["compress", "vae", str(digits[0]), "-o", str(file), *here])
    capsys.readouterr()
    whole = file.read_bytes()
    out = ["-o", str(tmp_path / "out")]
    call = lambda *a: main(["decompress", *a, *out, *here])  # noqa: E731
    for content, message in (
        (whole[:-9], "damaged or incomplete"),
        (whole[:50] + b"?" + whole[51:], "damaged or incomplete"),
        (b"PNG" + whole, "must be a file of `latentlab compress`"),
        (b"", "must be a file of `latentlab compress`"),
    ):
        file.write_bytes(content)
        assert message in fails(call, capsys, str(file))
    file.write_bytes(whole)
    error = fails(call, capsys, str(file), "--model", str(fork.root / "runs" / "linear_ae"))
    assert "written with other weights of 'vae'" in error
    assert not (tmp_path / "out").exists(), "no partial output"
    call(str(file))
    assert "exists already" in fails(call, capsys, str(file))
    for argv, message in (
        (["compress", "vae", str(digits[0]), "--step", "0"], "must be a number > 0, got '0'"),
        (["decompress", str(tmp_path / "absent")], "absent"),
        (["decompress", "/dev/zero"], "/dev/zero is not a regular file"),
    ):
        assert message in fails(lambda *a: main([*a, *here]), capsys, *argv)


def test_init_writes_a_project_and_select_chooses_what_it_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["init", "new/project"])
    said = capsys.readouterr().out
    assert said.startswith("new project in new/project. To train")
    assert said.endswith(":\n  cd new/project\n  latentlab repro --open\n")
    project = load_project(tmp_path / "new" / "project")
    assert project.models["vae"] == "configs/vae.yaml"
    assert "exists already" in fails(lambda *a: main(a), capsys, "init", "new/project")
    main(["select", "--project", "new/project", "linear_svm", "vae"])
    assert capsys.readouterr().out == "models: vae, dcgan\ntasks: linear_svm\n"
    monkeypatch.chdir(tmp_path / "new" / "project")
    main(["select", "gan"])
    assert capsys.readouterr().out == "models: gan\ntasks: none\n"
    assert list(load_project().models) == ["gan"]
    error = fails(lambda *a: main(a), capsys, "select", "gann")
    assert error == "error: configs/ has no model or task 'gann'; did you mean 'gan'?\n"
    assert "the following arguments are required: NAME" in fails(lambda: main(["select"]), capsys)


def test_a_model_of_the_user_is_importable_from_the_project(fork, tmp_path, monkeypatch, capsys):
    """`latentlab` does not have the folder of the project on its path; `allow` adds it."""
    own = fork.root / "my_models"
    own.mkdir()
    (own / "mine.py").write_text("from latentlab.models.vae import VAE as Mine\n")
    stored = fork.root / "runs" / "vae" / "experiment.json"
    stored.write_text(stored.read_text().replace("latentlab.models.vae.VAE", "my_models.mine.Mine"))
    monkeypatch.chdir(fork.root)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    error = fails(lambda *a: main(a), capsys, "sample", "vae")
    assert "write `allow: [my_models]`" in error
    fork.edit("params.yaml", allow=["my_models"])
    main(["sample", "vae", "-n", "4", "-o", str(tmp_path / "own.png")])
    assert (tmp_path / "own.png").is_file()
    sys.modules.pop("my_models.mine")
    sys.modules.pop("my_models")
