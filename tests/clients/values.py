"""Values of data frames in JSON's types, so that programs that know no pandas can compare them."""

import datetime
import decimal
import math

import numpy
import pandas


def plain(value):
    """A value in JSON's types: times in ISO form with their offset, decimals as text, missing values as null."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, numpy.ndarray)):
        return [plain(inner) for inner in value]
    if value is None or value is pandas.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, numpy.datetime64):
        # Inside of lists times come without their zone: all of ours are UTC.
        return None if numpy.isnat(value) else plain(pandas.Timestamp(value).tz_localize("UTC"))
    if isinstance(value, numpy.generic):
        return plain(value.item())
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)
        return aware.isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


def rows(frame):
    """The rows of a data frame as objects in JSON's types."""
    return [{name: plain(value) for name, value in row.items()} for row in frame.to_dict(orient="records")]
