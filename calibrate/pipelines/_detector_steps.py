"""The steps up to linearity, in order, which the pipelines detector1 and dark share."""

from __future__ import annotations

NEAR_INFRARED = (
    "group_scale", "dq_init", "saturation", "ipc", "superbias", "refpix", "linearity",
)  # fmt: skip
MIRI = (
    "group_scale", "dq_init", "emicorr", "saturation", "ipc", "firstframe", "lastframe", "reset",
    "linearity", "rscd",
)  # fmt: skip
