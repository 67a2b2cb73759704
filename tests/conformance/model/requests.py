"""What a request asks for, read strictly: parameters, capabilities, page tokens. Refusals are typed here."""

import base64
import datetime
import hashlib
import hmac
import json
import time

PAGE_TOKEN_LIFE_SECONDS = 3 * 86_400
REFRESH_TOKEN_LIFE_SECONDS = 3_600
LIST_MAX = 500


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def invalid(message):
    """The request is malformed."""
    return Refused(400, "INVALID_PARAMETER_VALUE", message)


def missing(name):
    """What was asked for does not exist, or is not for this recipient."""
    return Refused(404, "RESOURCE_DOES_NOT_EXIST", f"[Share/Schema/Table] '{name}' does not exist, "
                   "please contact your share provider for further information.")


def whole(value, name, least=0, bits=63):
    """A whole number that came as a JSON number or as text; `None` stays `None`."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise invalid(f"{name} is not a valid number.")
    try:
        number = int(value)
    except ValueError:
        raise invalid(f"{name} is not a valid number.") from None
    if number < least:
        raise invalid(f"{name} must be positive." if least else f"{name} cannot be negative.")
    if number >= 1 << bits:
        raise invalid(f"{name} is not a valid number.")
    return number


def moment(text, name):
    """A time as milliseconds since 1970."""
    try:
        at = datetime.datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        raise invalid(f"Invalid {name}: {text}") from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=datetime.timezone.utc)
    return int(at.timestamp() * 1000)


def one_of(parameters):
    """Refuses more than one parameter of a group."""
    if sum(value is not None for value in parameters.values()) > 1:
        raise invalid(f"Please only provide one of: {','.join(parameters)}")


class Capabilities:
    """The capabilities header of a request."""

    def __init__(self, text):
        found = {}
        for part in (text or "").lower().split(";"):
            name, _, values = part.partition("=")
            found[name.strip()] = [value.strip() for value in values.split(",") if value.strip()]
        self.formats = [form for form in found.get("responseformat", []) if form in ("parquet", "delta")]
        self.formats = self.formats or ["parquet"]
        self.features = set(found.get("readerfeatures", []))
        self.end_of_stream = found.get("includeendstreamaction") == ["true"]
        self.asynchronous = found.get("asyncquery") == ["true"]

    def format_for(self, snapshot):
        """The format of the answer for a table, or a refusal."""
        configuration = snapshot.metadata.get("configuration", {})
        needs = set()
        if configuration.get("delta.enableDeletionVectors") == "true":
            needs.add("deletionvectors")
        if configuration.get("delta.columnMapping.mode", "none") != "none":
            needs.add("columnmapping")
        if "timestampNtz" in (snapshot.protocol.get("readerFeatures") or []):
            needs.add("timestampntz")
        if not needs:
            return "parquet" if "parquet" in self.formats else "delta"
        if "delta" in self.formats and needs <= self.features:
            return "delta"
        raise Refused(400, "UNSUPPORTED_OPERATION", "Unsupported Delta Table Properties: " + ", ".join(sorted(needs)))


class Tokens:
    """Page tokens and refresh tokens, signed."""

    def __init__(self, secret):
        self.secret = secret

    def issue(self, kind, life, **content):
        """A token for a purpose."""
        content |= {"kind": kind, "expires": time.time() + life}
        body = base64.urlsafe_b64encode(json.dumps(content, sort_keys=True).encode()).decode()
        return f"{body}.{self.mark(body)}"

    def mark(self, body):
        """The signature of a token's body."""
        return hmac.new(self.secret, body.encode(), hashlib.sha256).hexdigest()

    def read(self, kind, token, **expected):
        """A token's content, if it is ours, alive, and for this request."""
        body, _, mark = str(token).rpartition(".")
        if not hmac.compare_digest(mark.encode(), self.mark(body).encode()):
            raise invalid(f"Error decoding the {kind} token")
        content = json.loads(base64.urlsafe_b64decode(body))
        if content["kind"] != kind:
            raise invalid(f"Error decoding the {kind} token")
        if content.get("table") != expected.get("table"):
            raise invalid(f"The table specified in the {kind} token does not match the table being queried.")
        if content.get("checksum") != expected.get("checksum"):
            raise invalid("Query parameter mismatch detected for the next page query")
        if content["expires"] < time.time():
            raise invalid(f"The {kind} token has expired. Please restart the query.")
        return content


def checksum(parameters):
    """A short text that is the same for the same parameters."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:16]
