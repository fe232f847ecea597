"""Why something did not arrive, in words that say what to do."""

import errno
import ssl
from collections.abc import Iterator

UNWRITABLE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.ENOTDIR,
}


def why(error: BaseException) -> str:
    """Tell what stopped a download: a certificate, a proxy, the server, the disk, or no network.

    Args:
        error: of urllib, requests or httpx, or of a library that raises from theirs.

    Returns:
        What happened and what to do about it, to stand within a sentence.
    """
    causes = list(_causes(error))
    names = {type(cause).__name__ for cause in causes}
    text = " ".join(map(str, causes))
    if any(isinstance(cause, ssl.SSLError) for cause in causes) or "CERTIFICATE_VERIFY" in text:
        return (
            "the server's certificate was not accepted: where a network puts its own in place of "
            "it, name the file of that one in SSL_CERT_FILE and REQUESTS_CA_BUNDLE, and look "
            "whether this machine's clock is right"
        )
    if "ProxyError" in names or "Tunnel connection failed" in text:
        return "the proxy let nothing through: look at HTTPS_PROXY and NO_PROXY"
    if own := [c for c in causes if isinstance(c, OSError) and c.errno in UNWRITABLE]:
        return f"the folder cannot be written ({own[0].strerror})"
    # As Unix and as Windows put it; a server that refuses a file is another matter.
    if any(words in text for words in ("Connection refused", "actively refused")):
        return "the connection was refused: a firewall, or a proxy in HTTPS_PROXY that is not there"
    answers = (getattr(getattr(c, "response", None), "status_code", None) for c in causes)
    if status := next(filter(None, answers), None):
        if status in (401, 403):
            return f"the server answered {status}: log in (`hf auth login`) and accept its terms"
        if status == 404:
            return "the server answered 404: it no longer has this file"
        if status == 429 or status >= 500:
            return f"the server answered {status}: try again later"
    if "JSONDecodeError" in names:
        return "what answered is another server: a network's page for signing in, perhaps"
    lost = (
        "getaddrinfo",
        "Name or service",
        "name resolution",
        "nodename",
        "timed out",
        "nreachable",
    )
    if {"gaierror", "TimeoutError"} & names or any(word in text for word in lost):
        return "no network was found: go online"
    first = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    return f"the download failed ({first})"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all that it came from, where each library keeps it."""
    todo, seen = [error], set()
    while todo:
        one = todo.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            # urllib keeps it as a reason, requests among the arguments.
            todo += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
