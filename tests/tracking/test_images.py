"""Images at several steps of a run: each is sent once, and a failing store gets them later."""

import numpy as np
from PIL import Image

from latentlab.tracking.images import LoggedImages


def write(folder, *steps):
    folder.mkdir(exist_ok=True)
    for step in steps:
        images = np.full((5, 4, 6, 1), step % 256, np.uint8)  # (N, H, W, C)
        np.save(folder / f"{step}.npy", images)


def stored(store, run):
    """The images of a run by step, as MLflow's web page reads them."""
    files = store.client.list_artifacts(run.id, "images")
    names = sorted((f.path for f in files if f.path.endswith(".png")), key=_step)
    return {_step(name): store.root / "mlruns" / "artifacts" / run.id / "artifacts" / name
            for name in names}  # fmt: skip


def _step(name):
    assert name.startswith("images/samples+step+"), name
    return int(name.split("+")[2])


def test_each_step_is_one_image_and_is_sent_once(store, tmp_path):
    run, folder = store.open_run(), tmp_path / "samples"
    write(folder, 10, 200)
    assert run.log_images(folder, key="samples")
    write(folder, 3000)
    assert run.log_images(folder, key="samples")
    found = stored(store, run)
    assert list(found) == [10, 200, 3000]
    with Image.open(found[200]) as image:
        pixels = np.asarray(image)
    scale = 11  # 6 px → about 64 px
    assert pixels.shape[:2] == (scale * (2 * 4 + 1), scale * (3 * 6 + 2)), "5 images: 2 rows of 3"
    assert set(np.unique(pixels)) == {200, 255}, "the images, and white between them"
    assert len(store.client.list_artifacts(run.id, "images")) == 6, "each with a small copy"


def test_a_continued_run_sends_what_is_missing_only(store, tmp_path):
    run, folder = store.open_run(), tmp_path / "samples"
    write(folder, 10)
    run.log_images(folder, key="samples")
    run.finish()
    write(folder, 20)
    continued = store.continue_run(run.id)
    assert continued.log_images(folder, key="samples")
    assert list(stored(store, run)) == [10, 20]
    assert len(store.client.list_artifacts(run.id, "images")) == 4


def test_the_end_of_a_run_sends_images_that_the_store_did_not_accept(store, tmp_path, capsys):
    run, folder = store.open_run(), tmp_path / "samples"
    write(folder, 10)
    broken = store.disconnect(run)
    run._images._client = broken
    assert not run.log_images(folder, key="samples")
    assert "MLflow did not accept images (connection refused): they are sent" in (
        capsys.readouterr().err
    )
    broken.repaired = True
    assert run.finish()
    assert list(stored(store, run)) == [10]


def test_images_that_are_never_accepted_make_the_run_incomplete(store, tmp_path, capsys):
    run, folder = store.open_run(), tmp_path / "samples"
    write(folder, 10)
    run._images._client = store.disconnect(run)
    run.log_images(folder, key="samples")
    assert not run.finish()
    assert "lacks in MLflow: images" in capsys.readouterr().err


def test_other_files_are_left_out(tmp_path):
    class Client:
        steps = ()

        def log_image(self, run_id, image, key, step):
            self.steps += (step,)

    write(tmp_path, 7)
    (tmp_path / "partial").write_bytes(b"")
    (tmp_path / "notes.npy").write_bytes(b"")
    images = LoggedImages(Client(), "id", is_new=True)
    images.add(tmp_path, "samples")
    images.add(tmp_path / "missing", "others")
    images.send()
    assert images._client.steps == (7,)
