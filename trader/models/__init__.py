"""Labels, learners, validation, calibration, artefacts; may import core and utils."""
