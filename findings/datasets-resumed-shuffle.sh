#!/usr/bin/env bash
# One would expect: a shuffled stream that is resumed from its state loses the buffer, as documented: with a
# buffer of 100 items, 100 items never come and no item comes twice.
#
# What happens: after 500 of 1,000 items the resumed stream brings 450 items: 9 of them for the second time,
# and 59 items never come. After 950 items it brings none.
#
# Seen with: datasets==5.2.0 on 2026-11-30 (Python 3.11, Linux, CPU).
# What to do: Shuffle indices with a seed for each epoch and skip the first ones, or resume at the start of
# an epoch.
#
# Prints the versions and the output; ends with 0 while the behaviour is as told, else with 1 and one sentence.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0
cd "$folder"
cat > program.py <<'PYTHON'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ['datasets']), sep=", ")

from datasets import Dataset

data = Dataset.from_dict({"x": list(range(1000))})


def resumed(count):
    """The items before the state is taken, and those that come after it is loaded."""
    stream = data.to_iterable_dataset().shuffle(seed=0, buffer_size=100)
    items = iter(stream)
    before = [next(items)["x"] for _ in range(count)]
    other = data.to_iterable_dataset().shuffle(seed=0, buffer_size=100)
    other.load_state_dict(stream.state_dict())
    return before, [item["x"] for item in other]


found = {}
for count in (500, 950):
    before, after = resumed(count)
    twice, never = len({*before} & {*after}), 1000 - len({*before, *after})
    found[count] = len(after), twice, never
    print(f"state after {count}: {len(after)} come, {twice} for the second time, {never} never")

if not (found[500][1] > 0 and 0 < found[500][2] < 100 and found[950][0] == 0):
    raise SystemExit("Changed: a resumed shuffle repeats or loses other items now.")
PYTHON
"$folder/venv/bin/python" program.py
