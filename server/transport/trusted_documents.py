"""Which documents may run: any that a client sends, or only those of a manifest."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphql import GraphQLError, parse

from resolvers.errors import BadUserInput, Refusal


class InvalidManifest(Exception):
    """The file of trusted documents cannot be used; the text says why."""


class PersistedQueryNotSupported(Refusal):
    """The document was named by its hash, to be sent in full if it is not known: that is not offered.

    Name and code are the ones by which clients learn to send it in full
    (https://www.apollographql.com/docs/apollo-server/performance/apq).
    """

    code = "PERSISTED_QUERY_NOT_SUPPORTED"

    def __init__(self) -> None:
        super().__init__("PersistedQueryNotSupported")


class TrustedDocuments:
    """Finds the text of the document that a request asks for."""

    def __init__(self, documents: Mapping[str, str] | None = None) -> None:
        """`documents` are texts by id: no other may run. None: whatever a client sends may."""
        self._documents = documents

    def find(self, payload: Mapping[str, Any]) -> str:
        """The text for a request's `query`, or `documentId`. Raises `BadUserInput` and `PersistedQueryNotSupported`."""
        id = find_document_id(payload)
        query = payload.get("query")
        if self._documents is None:
            if isinstance(query, str):
                return query
            if "documentId" in payload:
                raise BadUserInput("documentId", "this server has no trusted documents: send the query")
            if id is not None:
                raise PersistedQueryNotSupported
            raise BadUserInput("query", "must be a string with a GraphQL document")
        if id is None:
            raise BadUserInput("query", "only trusted documents run here: send the documentId of one instead")
        document = self._documents.get(id)
        if document is None:
            raise BadUserInput("documentId", "is not the id of a trusted document")
        return document


def load_manifest(path: Path) -> dict[str, str]:
    """Texts of documents by id, from a manifest as GraphQL Code Generator, Relay or Apollo write it.

    Raises `InvalidManifest`, also where one of the documents cannot be parsed.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidManifest(f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise InvalidManifest("is not JSON") from None
    if isinstance(content, dict) and isinstance(content.get("operations"), list):
        content = {entry.get("id"): entry.get("body") for entry in content["operations"] if isinstance(entry, dict)}
    if not isinstance(content, dict):
        raise InvalidManifest("must be an object of documents by id")
    for id, text in content.items():
        if not isinstance(id, str) or not isinstance(text, str):
            raise InvalidManifest("must be an object of documents by id")
        try:
            parse(text)
        except GraphQLError as error:
            raise InvalidManifest(f"the document {id[:100]!r} cannot be parsed: {error.message}") from None
    return {_bare(id): text for id, text in content.items()}


def find_document_id(payload: Mapping[str, Any]) -> str | None:
    """The id that a request gives: `documentId` by the draft, or the hash that Apollo's and urql's links send."""
    id = payload.get("documentId")
    if id is None:
        extensions = payload.get("extensions")
        persisted = extensions.get("persistedQuery") if isinstance(extensions, dict) else None
        id = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    return _bare(id) if isinstance(id, str) else None


def _bare(id: str) -> str:
    """An id with and without the prefix of its kind of hash is the same.

    https://github.com/graphql/graphql-over-http/blob/main/spec/Appendix%20A%20--%20Persisted%20Documents.md
    """
    return id.removeprefix("sha256:")
