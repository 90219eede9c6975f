"""Who can reach the service: beyond this machine it wants keys, unless it is told that it need not."""

import ipaddress
import socket

from service.settings import Settings, SettingsError


def is_this_machine_alone(address: str) -> bool:
    """Whether what listens on an address, or is reached by it, is reached from this machine alone.

    A name that is no IP address is no network address at all: servers name themselves so on Unix sockets and in tests.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def refuse_open_doors(settings: Settings) -> None:
    """Do not even start to listen where strangers would be served.

    Raises:
        SettingsError: the host is reachable from other machines and there is no API key.
    """
    if has_keys(settings) or settings.allow_anonymous:
        return
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return  # nothing can listen there; whoever tries will say so
    if not all(is_this_machine_alone(str(address[0])) for *_, address in found):
        raise SettingsError(
            f"MMGREC_HOST={settings.host!r}: it is reachable from other machines, and no API key is set: make one "
            "(python -m service.api_keys NAME) and name its file in MMGREC_API_KEYS_FILE, or listen on 127.0.0.1, or "
            "say MMGREC_ALLOW_ANONYMOUS=1 where something else keeps strangers away"
        )


def has_keys(settings: Settings) -> bool:
    """Whether callers are asked for a key."""
    return settings.api_keys is not None or settings.api_keys_file is not None
