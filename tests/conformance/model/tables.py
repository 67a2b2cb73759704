"""Answers about one table: version, metadata, query, changes."""

import time
from urllib.parse import unquote

from . import pruning
from .answers import Answers, leads_out
from .log import Log, NoSuchVersion
from .requests import (PAGE_TOKEN_LIFE_SECONDS, REFRESH_TOKEN_LIFE_SECONDS, Refused, checksum, invalid, moment, one_of,
                       whole)

URL_LIFE_SECONDS = 3_600


class Table:
    """One shared table. `sign(table, path, expires)` makes a file's URL."""

    def __init__(self, name, identifier, folder, history, tokens, sign):
        self.name, self.id, self.history, self.tokens = name, identifier, history, tokens
        self.log, self.sign_file = Log(folder), sign

    def sign(self, path):
        """A file's URL and its end of life in milliseconds."""
        expires = int(time.time()) + URL_LIFE_SECONDS
        return self.sign_file(path, expires), expires * 1000

    def snapshot(self, version=None):
        """A version, or a refusal."""
        try:
            found = self.log.snapshot(version)
        except NoSuchVersion as error:
            raise invalid(str(error)) from None
        if any(leads_out(unquote(add["path"])) for add in found.files):
            raise Refused(400, "UNSUPPORTED_OPERATION", "a table with paths that lead out of it cannot be shared")
        return found

    def require_history(self):
        """Refuses old versions of a table whose history is not shared."""
        if not self.history:
            raise invalid("Reading table by version or timestamp is not supported because history sharing is not "
                          f"enabled on table: {self.name}")

    def at(self, finder, text, name):
        """The version at a time, or a refusal."""
        try:
            return finder(moment(text, name))
        except NoSuchVersion as error:
            raise invalid(str(error)) from None

    def version(self, starting_timestamp):
        """The number of the current version, or of the first one at or after a time."""
        if starting_timestamp is None:
            return self.log.latest
        self.require_history()
        return self.at(self.log.version_at_or_after, starting_timestamp, "startingTimestamp")

    def metadata(self, capabilities, version, timestamp):
        """Version, format and lines of an answer about the table itself."""
        one_of({"version": version, "timestamp": timestamp})
        if version is not None or timestamp is not None:
            self.require_history()
        number = whole(version, "version")
        if timestamp is not None:
            number = self.at(self.log.version_at_or_before, timestamp, "timestamp")
        snapshot = self.snapshot(number)
        answers = Answers(capabilities.format_for(snapshot), self.sign, features=capabilities.features)
        lines = [answers.protocol(snapshot.protocol),
                 answers.metadata(snapshot.metadata, self.history, number, snapshot.files)]
        return snapshot.version, answers.form, lines + ([answers.end()] if capabilities.end_of_stream else [])

    def query(self, capabilities, body, scheme):
        """Version, format and lines of an answer with files."""
        one_of({name: body.get(name) for name in ("version", "timestamp", "startingVersion")})
        version = whole(body.get("version"), "table version")
        starting, ending = (whole(body.get(name), name) for name in ("startingVersion", "endingVersion"))
        pinned = any(body.get(name) is not None for name in ("version", "timestamp", "startingVersion"))
        size = whole(body.get("maxFiles"), "maxFiles", least=1, bits=31)
        limit = whole(body.get("limitHint"), "limitHint", bits=31)
        refresh, page = body.get("refreshToken"), body.get("pageToken")
        for name in ("includeRefreshToken", "refreshToken"):
            if body.get(name) and pinned:
                raise invalid(f"{name} cannot be used when querying a specific version.")
            if body.get(name) and page:
                raise invalid(f"{name} must be used in the first page request.")
        if pinned:
            self.require_history()
        if starting is not None:
            if ending is not None and starting > ending:
                raise invalid(f"startingVersion({starting}) must be smaller than or equal to endingVersion({ending}).")
            return self.changes_since(capabilities, body, starting, ending, size, page, scheme)
        if body.get("timestamp") is not None:
            version = self.at(self.log.version_at_or_before, body["timestamp"], "timestamp")
        mark = checksum({name: body.get(name) for name in
                         ("version", "timestamp", "predicateHints", "jsonPredicateHints", "limitHint")})
        first = 0
        if page:
            content = self.tokens.read("page", page, table=self.id, checksum=mark)
            version, first = content["version"], content["start"]
        elif refresh:
            version = self.tokens.read("refresh", refresh, table=self.id)["version"]
        snapshot = self.snapshot(version)
        answers = Answers(capabilities.format_for(snapshot), self.sign, scheme, capabilities.features)
        files = pruning.kept(snapshot.files, body.get("jsonPredicateHints")) if body.get("jsonPredicateHints") \
            else snapshot.files
        if limit == 0:
            files = []
        chosen = files[first:first + size] if size else files[first:]
        at = (snapshot.version, self.log.timestamp(snapshot.version)) if pinned else ()
        lines = [answers.protocol(snapshot.protocol),
                 answers.metadata(snapshot.metadata, self.history, version if pinned else None, snapshot.files)]
        lines += [answers.file("file", add, *at) for add in chosen]
        more = {}
        if first + len(chosen) < len(files):
            more["nextPageToken"] = self.tokens.issue("page", PAGE_TOKEN_LIFE_SECONDS, table=self.id, checksum=mark,
                                                      version=snapshot.version, start=first + len(chosen))
        if body.get("includeRefreshToken"):
            more["refreshToken"] = self.tokens.issue("refresh", REFRESH_TOKEN_LIFE_SECONDS, table=self.id,
                                                     version=snapshot.version)
        if more or size or capabilities.end_of_stream:
            lines.append(answers.end(**more))
        return snapshot.version, answers.form, lines

    def changes_since(self, capabilities, body, starting, ending, size, page, scheme):
        """An answer with the file changes of versions, as streaming readers ask for."""
        mark = checksum({name: body.get(name) for name in
                         ("startingVersion", "endingVersion", "includeHistoricalProtocol")})
        return self.changed(capabilities, starting, ending, True, bool(body.get("includeHistoricalProtocol")), False,
                            starting, mark, size, page, scheme)

    def changes(self, capabilities, parameters, scheme):
        """An answer with a change data feed."""
        starting = {name: parameters.get(name) for name in ("startingVersion", "startingTimestamp")}
        ending = {name: parameters.get(name) for name in ("endingVersion", "endingTimestamp")}
        if not self.history or self.snapshot().metadata.get("configuration", {}).get(
                "delta.enableChangeDataFeed") != "true":
            raise invalid(f"cdf is not enabled on table {self.name}")
        one_of(starting)
        one_of(ending)
        if not any(value is not None for value in starting.values()):
            raise invalid("No startingVersion or startingTimestamp provided for CDF read.")
        first = whole(parameters.get("startingVersion"), "startingVersion")
        last = whole(parameters.get("endingVersion"), "endingVersion")
        if parameters.get("startingTimestamp") is not None:
            first = self.at(self.log.version_within, parameters["startingTimestamp"], "startingTimestamp")
        if parameters.get("endingTimestamp") is not None:
            last = self.at(self.log.version_at_or_before, parameters["endingTimestamp"], "endingTimestamp")
        if last is not None and first > last:
            raise invalid(f"CDF range from start {first} to end {last} was invalid. End cannot be before start.")
        flag = lambda name: str(parameters.get(name, "")).lower() == "true"
        size = whole(parameters.get("maxFiles"), "maxFiles", least=1, bits=31)
        historical = flag("includeHistoricalMetadata")
        mark = checksum([starting, ending, historical, flag("includeHistoricalProtocol")])
        head = first if historical else self.log.latest
        return self.changed(capabilities, first, last, historical, flag("includeHistoricalProtocol"), True, head, mark,
                            size, parameters.get("pageToken"), scheme)

    def changed(self, capabilities, first, last, metadata, protocol, feed, head, mark, size, page, scheme):
        """The answer of both ways to ask for changes; `head` is the version of the first two lines."""
        latest, skip = self.log.latest, 0
        if page:
            content = self.tokens.read("page", page, table=self.id, checksum=mark)
            latest, skip = content["latest"], content["start"]
        if first > latest:
            raise invalid(f"Provided Start version({first}) for reading change data is invalid. Start version cannot "
                          f"be greater than the latest version of the table({latest}).")
        if last is not None and last > latest:
            raise invalid(f"Provided end version({last}) for reading change data is invalid. End version cannot be "
                          f"greater than the latest version of the table({latest}).")
        last = latest if last is None else last
        start = self.snapshot(first)
        snapshot = self.snapshot(min(head, latest))
        answers = Answers(capabilities.format_for(snapshot), self.sign, scheme, capabilities.features)
        inline = protocol and answers.form == "delta"
        lines = [answers.protocol(snapshot.protocol, snapshot.version if inline else None),
                 answers.metadata(snapshot.metadata, self.history, snapshot.version)]
        files = [(number, kind, action) for number in range(start.version, last + 1)
                 for kind, action in self.actions(number, feed, metadata, inline, first)]
        taken, position = 0, skip
        for number, kind, action in files[skip:]:
            if kind in ("metaData", "protocol"):
                line = answers.metadata(action, self.history, number) if kind == "metaData" \
                    else answers.protocol(action, number)
                lines.append(line)
            elif size and taken == size:
                break
            else:
                lines.append(answers.file(kind, action, number, self.log.timestamp(number)))
                taken += 1
            position += 1
        more = {}
        if position < len(files):
            more["nextPageToken"] = self.tokens.issue("page", PAGE_TOKEN_LIFE_SECONDS, table=self.id, checksum=mark,
                                                      latest=latest, start=position)
        if size or capabilities.end_of_stream:
            lines.append(answers.end(**more))
        return first, answers.form, lines

    def actions(self, number, feed, metadata, protocol, first):
        """The actions of a version that an answer about changes has."""
        actions = self.log.actions(number)
        feed_files = [action["cdc"] for action in actions if "cdc" in action] if feed else []
        for action in actions:
            for kind, wanted in (("metaData", metadata), ("protocol", protocol)):
                if kind in action and wanted and number > first:
                    yield kind, action[kind]
            for kind in ("add", "remove"):
                if kind in action and action[kind].get("dataChange") and not feed_files:
                    yield kind, action[kind]
        for action in feed_files:
            yield "cdc", action
