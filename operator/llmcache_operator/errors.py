"""Every error of the operator.

OperatorError
├── ApiError              the API server answered with an error, or not at all
│   ├── NotFound          404: the object is not there
│   ├── Conflict          409: somebody else was faster, or the object was made anew
│   └── Refused           403, 422: the object will not be taken until something else changes
├── GatewayUnreachable    a gateway's admin port gave no usable answer
├── RedisUnreachable      the managed Redis could not be asked, or refused to change a setting
├── LeaseLost             another operator may lead: this one must end; becomes exit code 1
└── UsageError            the command line can't be followed; becomes exit code 2
"""


class OperatorError(Exception):
    """The root of this package's errors."""


class ApiError(OperatorError):
    """The API server answered with an error. `status` is the HTTP status, 0 when there was no answer.

    `retry_after` is for how many seconds it wants to be left alone.
    """

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after


class NotFound(ApiError):
    """The object is not there."""


class Conflict(ApiError):
    """Somebody else was faster, or the object was deleted and made anew."""


class Refused(ApiError):
    """The API server will not take the object until something else changes: a permission, a policy, the spec."""


class GatewayUnreachable(OperatorError):
    """A gateway's admin port gave no usable answer."""


class RedisUnreachable(OperatorError):
    """The managed Redis could not be asked, or refused to change a setting."""


class LeaseLost(OperatorError):
    """This operator leads no longer: another one does, or may."""


class UsageError(OperatorError):
    """The command line can't be followed."""
