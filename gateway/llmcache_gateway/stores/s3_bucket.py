"""A bucket: the few things that the S3 store asks of a server, and what it makes of its errors.

The one module that imports the S3 client; without the extra `s3` it can't be imported.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotModifiedError, PreconditionError
from obstore.store import S3Store

from llmcache_gateway.config import Problem
from llmcache_gateway.errors import BadEntryError, ConfigError, StoreError
from llmcache_gateway.stores.s3_access import S3Access

if TYPE_CHECKING:  # types that are not there when it runs
    from obstore import GetOptions, PutMode
    from obstore.store import ClientConfig, S3Config, S3Credential, S3CredentialProvider

REQUEST_SECONDS: Final = 10.0
"""Longest that any request may take; lookups end sooner, by `cache.store.timeout`."""

CONNECT_SECONDS: Final = 2.0

RETRIES: Final = 1
"""A connection that the server has just closed is no reason for a miss; one that is away is the breaker's matter."""


class Object(NamedTuple):
    """An object's content, and what names this state of it in conditions."""

    content: bytes
    tag: str
    modified: float
    """When it was written, in whole seconds of the server's clock."""


class Bucket:
    """One bucket. Every method raises StoreError, and nothing else but cancellation."""

    def __init__(self, access: S3Access) -> None:
        """Prepare, without connecting; ConfigError when the certificates can't be used."""
        asked = access.config
        config: S3Config = {
            "virtual_hosted_style_request": not asked.path_style,
            "disable_bulk_delete": True,  # not every server has it, and one object is deleted at a time
        }
        if asked.region is not None:
            config["region"] = asked.region
        client: ClientConfig = {
            "timeout": timedelta(seconds=REQUEST_SECONDS),
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "user_agent": "llmcache-gateway",
        }
        if asked.endpoint is not None:
            scheme, _, host = asked.endpoint.partition("://")
            config["endpoint"] = asked.endpoint if asked.path_style else f"{scheme}://{asked.bucket}.{host}"
            config["aws_endpoint_url_s3"] = config["endpoint"]  # or else the environment's would come first
            client["allow_http"] = scheme == "http"
        if access.ca is not None:
            client["root_certificate"] = access.ca
        try:
            self._store = S3Store(
                asked.bucket,
                config=config,
                client_options=client,
                retry_config={"max_retries": RETRIES, "backoff": {"init_backoff": timedelta(milliseconds=20)}},
                credential_provider=_static(access.key_id, access.secret) if access.key_id and access.secret else None,
            )
        except (BaseError, ValueError) as error:
            if access.ca is None:
                raise
            raise ConfigError([Problem("spec.s3.ca", f"holds no certificates in PEM: {_reason(error)}")]) from None

    async def get(self, name: str, known: Object | None = None, *, max_bytes: int) -> Object | None:
        """Return an object, `known` itself if that is still its state; None when there is none.

        BadEntryError for one that is larger: whatever lies in a bucket, no more memory is taken.
        """
        options: GetOptions = {} if known is None else {"if_none_match": known.tag}
        with _store_errors():
            try:
                found = await obstore.get_async(self._store, name, options=options)
                if found.meta["size"] > max_bytes:
                    raise BadEntryError(f"s3: the object is larger than {max_bytes} bytes")
                content = bytes(await found.bytes_async())
                return Object(content, found.meta["e_tag"] or "", found.meta["last_modified"].timestamp())
            except NotModifiedError:
                return known
            except FileNotFoundError as error:
                _check_bucket(error)
                return None

    async def put(self, name: str, content: bytes) -> None:
        """Write an object, in place of one of the same name."""
        with _store_errors():
            # In one request: what is cut off half way leaves nothing behind.
            await obstore.put_async(self._store, name, content, use_multipart=False)

    async def replace(self, name: str, content: bytes, tag: str | None) -> bool:
        """Write an object only if its state has this tag, None for no object; say whether it had."""
        with _store_errors():
            try:
                mode: PutMode = "create" if tag is None else {"e_tag": tag}
                await obstore.put_async(self._store, name, content, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

    async def delete(self, name: str) -> bool:
        """Remove an object; say whether there was one."""
        with _store_errors():
            try:
                await obstore.head_async(self._store, name)  # a removal itself does not tell
                await obstore.delete_async(self._store, name)
            except FileNotFoundError as error:
                _check_bucket(error)
                return False
            return True

    async def names(self, below: str, batch: int) -> AsyncIterator[list[str]]:
        """Yield the names of all objects in a folder and its folders, in batches."""
        with _store_errors():
            async for found in obstore.list(self._store, below, chunk_size=batch):
                yield [one["path"] for one in found]


def _static(key_id: str, secret: str) -> "S3CredentialProvider":
    """Return what gives out one access key: given as settings, it would be mixed with the environment's session."""
    key: S3Credential = {"access_key_id": key_id, "secret_access_key": secret, "expires_at": None}
    return lambda: key


def _check_bucket(error: FileNotFoundError) -> None:
    """Raise StoreError when it is the bucket that is not there: that looks like an object that is not."""
    if _code(error) == "NoSuchBucket":
        raise StoreError("s3: the bucket does not exist") from None


def _code(error: Exception) -> str:
    found = re.search(r"<Code>(\w+)</Code>", str(error))
    return found[1] if found else ""


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        raise StoreError(f"s3: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Return an error in one line, without the object's name, which holds a tenant's."""
    status = re.search(r"status code: (\d{3} [A-Za-z ]+)", str(error))
    if status is None:
        return str(error).partition("\n")[0].rpartition(" - ")[2] or type(error).__name__
    return f"{status[1]} {_code(error)}".strip()
