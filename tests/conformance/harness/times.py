"""Times as requests have them."""

import datetime


def iso(milliseconds):
    """A time in ISO 8601, in UTC, with milliseconds."""
    at = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.timezone.utc)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
