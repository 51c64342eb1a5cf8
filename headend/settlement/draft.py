"""Interval energy on its way through the stages of settlement; every stage changes it in place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(slots=True, eq=False)
class Draft:
    """P metering points over T intervals; arrays (P, T)."""

    import_wh: npt.NDArray[np.int64]
    """Primary side [Wh]; NO_VALUE: absent."""
    export_wh: npt.NDArray[np.int64]
    quality: npt.NDArray[np.int8]
    """IntervalQuality."""
    flags: npt.NDArray[np.int32]
    """validation.Flag."""
    served: npt.NDArray[np.bool_]
    """Whether a meter was installed at any time of the interval."""
