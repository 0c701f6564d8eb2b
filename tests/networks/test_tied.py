"""Tied decoders: equal layers only."""

import pytest

from latentlab.networks.mlp import mlp
from latentlab.networks.tied import tied_mlp


def test_unequal_layers_cannot_be_tied():
    with pytest.raises(ValueError, match="5-36, got 5-7-36: choose equal hidden widths"):
        tied_mlp(mlp([36, 5]), [5, 7, 36])
