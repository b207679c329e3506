"""A thin client of the API server: the few verbs that llmfleet uses, on plain dicts.

It does not cache, retry (with one exception, see `Client._exchange`) or schedule; callers do. Every error is one of
`errors`. Writes name their field manager, and `apply` is server-side apply.
"""

from __future__ import annotations

import asyncio
import math
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

import aiohttp
import orjson
from yarl import URL

from llmfleet.kube.answer import read_body, read_error, read_event, read_lines, read_object, unreachable
from llmfleet.kube.resources import Ref, resource_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from llmfleet.kube.resources import Resource

    Object = dict[str, Any]
    Observe = Callable[[str, Resource, str, float], None]

PAGE_ITEMS = 500
"""Objects per page of a LIST: keeps a listing of 10,000 objects from doubling the process's memory."""

_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_ONLY_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_CONNECT_S = 5.0
_WRITES_MORE_S = 5.0
"""A write waits so much longer: an admission webhook may take 30 s, and the API server's word on it is worth having."""


class Client:
    """Speaks to one API server.

    Args:
        session: see `session.open_session`; it stays the caller's.
        server: URL of the API server without a trailing slash.
        in_flight: how many calls may be under way at once (watches do not count). A client of its own over the same
            session, as the Lease has, does not wait behind the others.
        timeout_s: limit of one call that reads, waiting for a turn excluded; one that writes has 5 s more.
        observe: called after every call with verb, resource, HTTP code (or `unreachable`) and seconds.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        server: str,
        *,
        in_flight: int = 32,
        timeout_s: float = 30.0,
        observe: Observe | None = None,
    ) -> None:
        self._session = session
        self._server = server.rstrip("/")
        self._turns = asyncio.Semaphore(in_flight)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S)
        self._write_timeout = aiohttp.ClientTimeout(total=timeout_s + _WRITES_MORE_S, sock_connect=_CONNECT_S)
        self._observe = observe
        self._wrote_at = -math.inf

    def since_write_s(self) -> float:
        """Return how long ago a write last succeeded, in seconds; infinite before the first."""
        return time.monotonic() - self._wrote_at

    async def get(self, ref: Ref) -> Object:
        """Read one object.

        Raises:
            NotFound: it is not there.
            ApiError: anything else.
        """
        return await self._call("get", "GET", ref.resource, ref.path())

    async def get_metadata(self, ref: Ref) -> Object:
        """Read an object's metadata only, as PartialObjectMetadata.

        Raises:
            NotFound: it is not there.
            ApiError: anything else.
        """
        return await self._call("get", "GET", ref.resource, ref.path(), headers={"Accept": _METADATA_ONLY})

    async def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int = PAGE_ITEMS,
        metadata_only: bool = False,
    ) -> AsyncGenerator[Object, None]:
        """List page by page; yields the List objects, whose items carry apiVersion and kind.

        All pages show the same moment, that of the first page's resourceVersion.

        Args:
            resource: what to list.
            namespace: None for all namespaces.
            label_selector: as in kubectl's `--selector`.
            field_selector: as in kubectl's `--field-selector`.
            limit: objects per page; 0 asks for everything at once.
            metadata_only: items are PartialObjectMetadata.

        Raises:
            Gone: the listing took so long that its moment was forgotten; start again.
            ApiError: anything else.
        """
        params = _present(
            labelSelector=label_selector, fieldSelector=field_selector, limit=str(limit) if limit else None
        )
        headers = {"Accept": _METADATA_ONLY_LIST} if metadata_only else {}
        while True:
            page = await self._call("list", "GET", resource, resource.path(namespace), params=params, headers=headers)
            for item in page.get("items") or ():
                # The API server leaves them out of built-in kinds' items.
                item["apiVersion"], item["kind"] = resource.api_version, resource.kind
            yield page
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            params["continue"] = token

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        metadata_only: bool = False,
    ) -> AsyncGenerator[Object, None]:
        """List objects one by one, fetched page by page. Arguments and errors are those of `pages`."""
        async for page in self.pages(
            resource,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            metadata_only=metadata_only,
        ):
            for item in page.get("items") or ():
                yield item

    async def apply(
        self,
        obj: Mapping[str, Any],
        *,
        manager: str,
        force: bool = True,
        subresource: str | None = None,
    ) -> Object:
        """Write by server-side apply: create the object, or set exactly the fields that are in it.

        Args:
            obj: apiVersion, kind, name and the fields that `manager` wants to own; nothing else.
            manager: field manager.
            force: take fields that another manager owns instead of failing with Conflict.
            subresource: `status` and the like; status is written in no other way.

        Returns:
            The object as it is now.

        Raises:
            ValueError: `obj` holds a status and no subresource was named.
            Conflict: another manager owns a field (without force), or a uid in `obj` is not the object's.
            Invalid: a field breaks the schema or a rule; `causes` says which.
            ApiError: anything else.
        """
        if "status" in obj and subresource is None:
            raise ValueError("a status is applied with subresource='status'")
        ref = Ref.of(obj)
        return await self._call(
            "apply",
            "PATCH",
            ref.resource,
            ref.path(subresource),
            params={"fieldManager": manager, "force": "true" if force else "false"},
            headers={"Content-Type": "application/apply-patch+yaml"},
            body=obj,
        )

    async def create(self, obj: Mapping[str, Any], *, manager: str) -> Object:
        """Create an object; return it as stored.

        Raises:
            AlreadyExists: there is one of this name.
            ApiError: anything else.
        """
        resource = resource_of(obj)
        namespace = (obj.get("metadata") or {}).get("namespace")
        path = resource.path(namespace)
        return await self._call("create", "POST", resource, path, params={"fieldManager": manager}, body=obj)

    async def replace(self, obj: Mapping[str, Any], *, manager: str) -> Object:
        """Replace an object by PUT; its metadata.resourceVersion guards against overwriting another's write.

        Raises:
            Conflict: somebody else wrote first.
            ApiError: anything else.
        """
        ref = Ref.of(obj)
        return await self._call("update", "PUT", ref.resource, ref.path(), params={"fieldManager": manager}, body=obj)

    async def patch_json(self, ref: Ref, operations: Sequence[Mapping[str, Any]], *, manager: str) -> Object:
        """Change an object by JSON patch (RFC 6902); for the few places where apply does not fit.

        Raises:
            NotFound: it is not there.
            Invalid: a `test` operation did not hold, or the result is not valid.
            ApiError: anything else.
        """
        return await self._call(
            "patch",
            "PATCH",
            ref.resource,
            ref.path(),
            params={"fieldManager": manager},
            headers={"Content-Type": "application/json-patch+json"},
            body=operations,
        )

    async def delete(
        self,
        ref: Ref,
        *,
        uid: str | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
    ) -> None:
        """Ask for an object's deletion; finalizers and grace periods may let it live on for a while.

        Args:
            ref: the object.
            uid: only if it is still this very object and not a successor of the same name.
            propagation: what happens to its dependents.

        Raises:
            NotFound: it is not there.
            Conflict: a precondition does not hold.
            ApiError: anything else.
        """
        body: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        await self._call("delete", "DELETE", ref.resource, ref.path(), body=body)

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str | None = None,
        timeout_s: int = 300,
        silence_s: float = 90.0,
    ) -> AsyncGenerator[Object, None]:
        """Follow changes from a resource version on; yields an empty dict once connected, then the watch events.

        Ends when the server ends the watch. ERROR events are raised, bookmarks are passed on.

        Args:
            resource: what to watch.
            namespace: None for all namespaces.
            resource_version: the last version seen.
            label_selector: as in kubectl's `--selector`.
            timeout_s: the server ends the watch after so many seconds.
            silence_s: so long without a byte means the connection is dead; longer than the minute between bookmarks.

        Raises:
            Gone: the version is too old; list again.
            Unreachable: no connection, a broken one, silence, or something that is not JSON.
            ApiError: anything else.
        """
        params = _present(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            labelSelector=label_selector,
            timeoutSeconds=str(timeout_s),
        )
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=silence_s)
        url = self._url(resource.path(namespace), params)
        started, code = time.perf_counter(), "unreachable"
        try:
            async with self._session.get(url, timeout=timeout, allow_redirects=False) as response:
                code = str(response.status)
                if response.status != HTTPStatus.OK:
                    raise await read_error(response)
                self._report("watch", resource, code, started)
                yield {}
                async for line in read_lines(response.content):
                    yield read_event(line, resource)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable("watch", url, error) from error
        finally:
            if code != "200":
                self._report("watch", resource, code, started)

    async def _call(
        self,
        verb: str,
        method: str,
        resource: Resource,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Object:
        """Make one call and parse its answer."""
        url = self._url(path, params or {})
        sent = {"Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
        data = None if body is None else orjson.dumps(body)
        async with self._turns:
            started, code = time.perf_counter(), "unreachable"
            try:
                async with await self._exchange(method, url, sent, data) as response:
                    code = str(response.status)
                    if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                        raise await read_error(response)
                    answer = read_object(await read_body(response))
                    if method != "GET":
                        self._wrote_at = time.monotonic()
                    return answer
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                code = "unreachable"
                raise unreachable(verb, url, error) from error
            finally:
                self._report(verb, resource, code, started)

    async def _exchange(
        self, method: str, url: URL, headers: Mapping[str, str], data: bytes | None
    ) -> aiohttp.ClientResponse:
        """Send a request; a PATCH again, once, if the server had closed the idle connection that the pool gave us.

        aiohttp does so by itself for the methods that HTTP calls idempotent. Server-side apply is idempotent too, but
        travels as PATCH. A JSON patch may be applied twice by this; ours set values and do not add.
        """
        request = self._session.request
        timeout = self._timeout if method == "GET" else self._write_timeout
        options: Any = {"headers": headers, "data": data, "timeout": timeout, "allow_redirects": False}
        try:
            return await request(method, url, **options)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if method != "PATCH" or isinstance(error, aiohttp.ClientConnectorError):
                raise
            return await request(method, url, **options)

    def _url(self, path: str, params: Mapping[str, str]) -> URL:
        return URL(self._server + path, encoded=True).with_query(params)

    def _report(self, verb: str, resource: Resource, code: str, started: float) -> None:
        if self._observe is not None:
            self._observe(verb, resource, code, time.perf_counter() - started)


def _present(**values: str | None) -> dict[str, str]:
    """Keep what is given."""
    return {key: value for key, value in values.items() if value is not None}
