"""Who may read the metrics: a bearer token (RFC 6750), basic credentials (RFC 7617), or a function of the user's.

The endpoint asks before it does anything else. Whatever goes wrong here refuses. No secret is ever logged or shown.
"""

import base64
import binascii
import hmac
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from .. import options

Fault = Callable[[str, BaseException], None]

REALM: Final = 'realm="metrics"'

MAX_SECRET_BYTES: Final = 8192
"""How much of a file is read, and how long a header may be."""


class _Secret:
    """A secret: a value, a file that is read anew for each request, or an environment variable.

    Args:
        owner: The class that it is an option of, for messages.
        option: What the value is called.
        value: Itself.
        file: The path of a file that holds it; white space around it does not count. The file may be rotated.
        variable: The name of an environment variable that holds it now; white space around it does not count.

    Raises:
        TypeError: One of them is of the wrong type.
        ValueError: Not exactly one of them is given, or there is no secret in it.
    """

    def __init__(
        self, owner: str, option: str, value: str | None, file: str | os.PathLike[str] | None, variable: str | None
    ) -> None:
        given = {option: value, "file": file, "variable": variable}
        chosen = [name for name, one in given.items() if one is not None]
        if len(chosen) != 1:
            raise ValueError(f"{owner}(): needs one of {option}, file= and variable=, and has {len(chosen)}")
        self.file: str | None = None
        self.kept: bytes = b""
        if value is not None:
            if not isinstance(value, str):
                raise TypeError(f"{owner}({option}=...): must be of type str")
            self.kept = value.encode()
        elif variable is not None:
            options.check_type(owner, "variable", variable, str)
            self.kept = os.environ.get(variable, "").strip().encode("utf-8", "surrogateescape")
        else:
            self.file = os.fspath(file)  # type: ignore[arg-type]  # the one that is left
            try:
                self.read()
            except OSError as error:
                raise ValueError(f"{owner}(file={self.file!r}): cannot be read: {error}") from error
        if not self.read():
            where = f"({chosen[0]}=...)" if value is not None else f"({chosen[0]}={given[chosen[0]]!r})"
            raise ValueError(f"{owner}{where}: {'is not set, or ' if variable is not None else ''}holds no secret")

    def read(self) -> bytes:
        """Return it.

        Raises:
            OSError: The file cannot be read.
        """
        if self.file is None:
            return self.kept
        with open(self.file, "rb") as file:
            return file.read(MAX_SECRET_BYTES).strip()


class BearerToken:
    """Lets those read who send this token: `Authorization: Bearer <token>`. Give exactly one of the arguments.

    Args:
        value: The token.
        file: The path of a file that holds it, which may be rotated: Prometheus has `credentials_file`.
        variable: The name of an environment variable that holds it.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: Not exactly one is given, or it holds no token.
    """

    challenge: Final = f"Bearer {REALM}"

    def __init__(
        self, value: str | None = None, *, file: str | os.PathLike[str] | None = None, variable: str | None = None
    ) -> None:
        self._secret = _Secret(type(self).__name__, "value", value, file, variable)

    def accepts(self, authorization: str) -> bool:
        """Tell whether a request's header `Authorization` holds the token. It takes as long for any wrong one."""
        expected = self._secret.read().strip()  # as a header has no space around it
        return bool(expected) and hmac.compare_digest(_of_scheme("bearer", authorization), expected)


class BasicCredentials:
    """Lets those read who send this user name and password. Give exactly one of the last three arguments.

    Args:
        username: The user name, without a colon.
        password: The password.
        file: The path of a file that holds the password, which may be rotated: Prometheus has `password_file`.
        variable: The name of an environment variable that holds the password.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: The user name is empty or has a colon, or not exactly one password is given, or it is empty.
    """

    challenge: Final = f'Basic {REALM}, charset="UTF-8"'

    def __init__(
        self,
        username: str,
        password: str | None = None,
        *,
        file: str | os.PathLike[str] | None = None,
        variable: str | None = None,
    ) -> None:
        options.check_type(type(self).__name__, "username", username, str)
        if not username or ":" in username:
            raise options.refusal(
                ValueError, type(self).__name__, "username", username, "must not be empty or have a colon"
            )
        self._username = username.encode()
        self._secret = _Secret(type(self).__name__, "password", password, file, variable)

    def accepts(self, authorization: str) -> bool:
        """Tell whether a request's header `Authorization` holds them. It takes as long for any wrong ones."""
        password = self._secret.read()
        try:
            given = base64.b64decode(_of_scheme("basic", authorization), validate=True)
        except binascii.Error:
            return False
        return bool(password) and hmac.compare_digest(given, self._username + b":" + password)


Authorize = BearerToken | BasicCredentials | Callable[[Any], bool]
"""What `authorize=` accepts. A function is called with the environ or scope: any type, as users annotate theirs."""


class Access:
    """Who may read one endpoint.

    Args:
        owner: What has the option, for messages.
        authorize: The option; `None` lets everybody read.

    Raises:
        TypeError: It is none of these, or a function that returns a coroutine.
    """

    def __init__(self, owner: str, authorize: Authorize | None) -> None:
        if authorize is not None and not isinstance(authorize, BearerToken | BasicCredentials):
            if isinstance(authorize, type):
                raise options.refusal(TypeError, owner, "authorize", authorize, "must be an instance, not the class")
            if isinstance(authorize, str | bytes):  # the value is a secret, and stays out of the message
                raise TypeError(f"{owner}(authorize=...): must not be text; pass BearerToken(...) for a token")
            options.check_plain_callable(owner, "authorize", authorize)
        self.authorize: Authorize | None = authorize

    def refuses(
        self, headers: Mapping[str, str], source: Any, fault: Fault
    ) -> tuple[int, list[tuple[str, str]]] | None:
        """Return the status and the headers of a refusal; `None` if the client may read.

        Args:
            headers: The request's, by lower-case name.
            source: Its environ or scope.
            fault: Takes what goes wrong.
        """
        authorize = self.authorize
        if authorize is None:
            return None
        if isinstance(authorize, BearerToken | BasicCredentials):
            try:
                if authorize.accepts(headers.get("authorization", "")):
                    return None
            except Exception as error:  # the file is gone, say
                fault("authorize", error)
            return 401, [("WWW-Authenticate", authorize.challenge)]
        try:
            found = authorize(source)
            if found is True:
                return None
            if found is not False:
                raise TypeError(f"authorize returned {type(found).__name__}, not a bool")
        except Exception as error:
            fault("authorize", error)
        return 403, []


def _of_scheme(scheme: str, authorization: str) -> bytes:
    """Return what stands behind a scheme, or nothing if it is another one."""
    given, _, rest = authorization.partition(" ")
    if given.lower() != scheme or len(authorization) > MAX_SECRET_BYTES:
        return b""
    return rest.strip().encode("latin-1", "replace")
