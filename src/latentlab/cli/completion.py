"""The completion scripts of shells, by shtab.

Names of models are those of configs/, and of the trainings with more seeds in runs/, such as vae@1.
"""

from __future__ import annotations

from latentlab.cli.arguments import parser

PREAMBLE = {
    "bash": """
_latentlab_models() {
  local name names=()
  for name in configs/*.yaml runs/*@*; do
    [[ -e $name ]] || continue
    name=${name##*/}
    names+=("${name%.yaml}")
  done
  compgen -W "${names[*]}" -- "$1"
}
""",
    "zsh": """
_latentlab_models() {
  local -a names
  names=(configs/*.yaml(N:t:r) runs/*@*(N:t))
  compadd -a names
  _files
}
""",
}


def script(shell: str) -> str:
    """Return the script for bash, zsh or tcsh."""
    import shtab

    text: str = shtab.complete(parser(), shell=shell, preamble=PREAMBLE)  # type: ignore[arg-type]
    return text
