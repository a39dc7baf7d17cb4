"""The errors that splinelens raises on purpose, in one tree.

::

    SplinelensError
    |-- BadTexts             the input of texts or labels cannot be read
    |   |-- MissingColumn    a table lacks a requested column
    |   |-- BadCode          source code that cannot be read or does not parse
    |   |-- BadLabels        labels of the wrong type, missing, too few or without signal
    |   `-- NoTokens         no text has a token
    |-- BadModel             a model cannot be found, fetched or loaded
    |   |-- UnknownModel     no alias, folder, file or hub id of that name
    |   |-- BrokenDownload   a fetched file is incomplete or has the wrong hash
    |   |-- UnknownAnatomy   an architecture without a row in ``anatomy.py``
    |   `-- Diverged         training gave numbers that are not finite
    |-- BadFeatures          a feature, layer or option that cannot be, or a broken table
    |   `-- CannotResume     rows of an earlier run belong to other settings
    |-- BadDetector          a detector cannot be used
    |   |-- UnknownDetector  no shipped detector or folder of that name
    |   |-- BrokenArtifact   a file of the artifact is missing, cut or of another schema
    |   |-- WrongModel       the detector was made for another model, prompt or catalogue
    |   |-- NotExplainable   the score does not split into one number per token
    |   `-- BadCalibration   a calibration file is damaged or was fitted to another detector
    |-- BadCritic            a critic cannot be used, or there is none
    |-- BadCluster           Ray is missing, or its cluster cannot run what it is given
    |-- CannotServe          the server cannot start, or cannot answer a request
    |   |-- Overloaded       too many texts are waiting
    |   `-- NotReady         it is stopping, or no text can be scored
    |-- MissingPackage       an extra or plug-in needs a package that is not installed
    `-- CannotWrite          the disk is full, or a file is not writable or in use
        `-- OutputExists     the output exists, or is the input or a folder

Each message says what happened, where, and what to do next. The command line prints only the message and
exits with 1, and with 2 on ``OutputExists``.
"""


class SplinelensError(Exception):
    """The root of all errors raised on purpose."""


class BadTexts(SplinelensError):
    """The input of texts or labels cannot be read."""


class MissingColumn(BadTexts):
    """A table lacks a requested column."""


class BadCode(BadTexts):
    """Source code cannot be read, or does not parse."""


class BadLabels(BadTexts):
    """Labels of the wrong type, missing, too few of a class, of one class only, or without any signal."""


class NoTokens(BadTexts):
    """No text has a token to read."""


class BadModel(SplinelensError):
    """A model cannot be found, fetched or loaded."""


class UnknownModel(BadModel):
    """No alias, folder, file or hub id of that name."""


class BrokenDownload(BadModel):
    """A fetched file is incomplete or has the wrong hash."""


class UnknownAnatomy(BadModel):
    """An architecture without a row in ``anatomy.py``."""


class Diverged(BadModel):
    """Training gave numbers that are not finite."""


class BadFeatures(SplinelensError):
    """A feature, layer or other option that cannot be, or a broken table."""


class CannotResume(BadFeatures):
    """The rows of an earlier run belong to other settings or other texts."""


class BadDetector(SplinelensError):
    """A detector cannot be used."""


class UnknownDetector(BadDetector):
    """No shipped detector or folder of that name."""


class BrokenArtifact(BadDetector):
    """A file of a detector artifact is missing, cut short or of another schema."""


class WrongModel(BadDetector):
    """A detector is used with another model, prompt or catalogue than it was made for."""


class NotExplainable(BadDetector):
    """A detector whose score does not split into one number per token."""


class BadCalibration(BadDetector):
    """A calibration file is damaged, or was fitted to another detector than the one that is used."""


class BadCritic(SplinelensError):
    """A critic cannot be used: its pattern, schema, domain or finding is not valid, or there is no critic."""


class BadCluster(SplinelensError):
    """Ray is not installed, no cluster answers, or its actors die."""


class CannotServe(SplinelensError):
    """The server cannot start, or cannot answer a request."""


class Overloaded(CannotServe):
    """Too many texts are waiting to be scored."""


class NotReady(CannotServe):
    """The server is stopping, or its forward passes fail or do not end."""


class MissingPackage(SplinelensError):
    """An extra or a plug-in needs a package that is not installed."""


class CannotWrite(SplinelensError):
    """The disk is full, or a file is not writable or in use by another run."""


class OutputExists(CannotWrite):
    """The output exists and may not be replaced, or is the input or a folder."""
