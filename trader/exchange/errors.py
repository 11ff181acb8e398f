"""The refusals of the venue: one table of HTTP status, code and message; status and code are the contract."""

from __future__ import annotations

from typing import Any

REFUSALS: dict[str, tuple[int, int, str]] = {
    "malformed": (400, 40010000, "{detail}"),
    "unauthorized": (401, 40110000, "request is not authorized"),
    "buying_power": (403, 40310000, "insufficient buying power"),
    "qty_available": (
        403, 40310000, "insufficient qty available for order (requested: {requested}, available: {available})",
    ),
    "wash_trade": (403, 40310000, "potential wash trade detected. use complex orders"),
    "opposite_open": (403, 40310000, "cannot open a short sell while a long buy order is open"),
    "opposite_open_short": (403, 40310000, "cannot open a long buy while a short sell order is open"),
    "suspended_by_user": (403, 40310000, "new orders are rejected by user request"),
    "closing_only": (403, 40310000, "account is restricted to liquidation only"),
    "shorting_disabled": (403, 40310000, "account is not allowed to short"),
    "recent_sip": (403, 42210000, "subscription does not permit querying recent SIP data"),
    "unchanged": (403, 40310000, "order parameters are not changed"),
    "order_not_found": (404, 40410000, "order not found for {id}"),
    "position_not_found": (404, 40410000, "position does not exist"),
    "watchlist_not_found": (404, 40410000, "watchlist not found"),
    "announcement_not_found": (404, 40410000, "corporate action not found"),
    "asset_not_found": (404, 40410000, "asset not found for {symbol}"),
    "endpoint_not_found": (404, 40410000, "endpoint not found."),
    "method_not_allowed": (405, 40510000, "method not allowed"),
    "running": (409, 40910000, "the venue runs by itself; pause it before stepping"),
    "too_large": (413, 41310000, "request body is larger than {limit} bytes"),
    "duplicate_client_order_id": (422, 40010001, "client_order_id must be unique"),
    "invalid": (422, 40010001, "{detail}"),
    "unprocessable": (422, 42210000, "{detail}"),
    "unknown_symbol": (422, 42210000, 'asset "{symbol}" not found'),
    "not_shortable": (422, 42210000, 'asset "{symbol}" cannot be sold short'),
    "sub_penny": (
        422, 42210000, "invalid {field} {price}. sub-penny increment does not fulfill minimum pricing criteria",
    ),
    "not_cancelable": (422, 42210000, 'order is already in "{status}" state'),
    "not_replaceable": (422, 42210000, 'cannot replace order in {status} status'),
    "internal": (500, 50010000, "internal server error occurred"),
}


class VenueError(Exception):
    """A refusal: ``http_status``, ``code``, ``message`` and further fields of the answer in ``details``."""

    def __init__(self, http_status: int, code: int, message: str, **details: Any) -> None:
        super().__init__(f"{message} ({http_status}/{code})")
        self.http_status = http_status
        self.code = code
        self.message = message
        self.details = details

    def body(self) -> dict[str, Any]:
        """The answer's JSON object."""
        return {"code": self.code, "message": self.message, **self.details}


def refusal(kind: str, details: dict[str, Any] | None = None, **fields: Any) -> VenueError:
    """A refusal from the table; ``fields`` fill its message, ``details`` join its body."""
    status, code, template = REFUSALS[kind]
    return VenueError(status, code, template.format(**fields), **(details or {}))
