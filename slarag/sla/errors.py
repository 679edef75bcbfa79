"""Everything slarag raises on purpose.

SlaragError
├── ConfigurationError      the call or a file is wrong (exit code 2)
│   ├── ProfileError        a profile file or an objective
│   ├── PlanError           a plan that cannot be built
│   ├── CorpusError         documents that cannot be read or indexed
│   ├── IndexFolderError    an index that is damaged, missing or of another embedder
│   ├── DataError           an evaluation file
│   └── QuestionError       an empty or oversized question
└── RunError                something failed at run time (exit code 1)
    ├── BackendError        a model backend failed
    │   ├── BackendTimeoutError      it did not answer within the deadline
    │   ├── BackendUnavailableError  it refused, or its circuit is open
    │   └── BackendReplyError        it answered something that cannot be used
    ├── BudgetError         the cost cap
    │   ├── CostCapError             a charge would pass the cap
    │   └── UnpricedCallError        a call without a price under a cap
    └── StorageError        the disk refused
"""

from __future__ import annotations


class SlaragError(Exception):
    """The root. `code` is stable, `remedy` says what to do, `details` are structured."""

    code = "slarag"
    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "", **details: object) -> None:
        super().__init__(f"{message}; {remedy}" if remedy else message)
        self.message = message
        self.remedy = remedy
        self.details = details


class ConfigurationError(SlaragError):
    """The call or a file is wrong."""

    code = "configuration"
    exit_code = 2


class ProfileError(ConfigurationError):
    """A profile file or an objective is wrong."""

    code = "profile"


class PlanError(ConfigurationError):
    """A plan that cannot be built."""

    code = "plan"


class CorpusError(ConfigurationError):
    """Documents that cannot be read or indexed."""

    code = "corpus"


class IndexFolderError(ConfigurationError):
    """An index folder that is damaged, missing or of another embedder."""

    code = "index"


class DataError(ConfigurationError):
    """An evaluation file that cannot be used."""

    code = "data"


class QuestionError(ConfigurationError):
    """A question that cannot be asked."""

    code = "question"


class RunError(SlaragError):
    """Something failed at run time."""

    code = "run"


class BackendError(RunError):
    """A model backend failed."""

    code = "backend"


class BackendTimeoutError(BackendError):
    """A backend did not answer within the time that was left."""

    code = "backend_timeout"


class BackendUnavailableError(BackendError):
    """A backend refused, could not be reached, or its circuit is open."""

    code = "backend_unavailable"


class BackendReplyError(BackendError):
    """A backend answered something that cannot be used."""

    code = "backend_reply"


class BudgetError(RunError):
    """The cost cap of a query."""

    code = "budget"


class CostCapError(BudgetError):
    """A charge would pass the cap."""

    code = "cost_cap"


class UnpricedCallError(BudgetError):
    """A call without a price under a cost cap."""

    code = "unpriced_call"


class StorageError(RunError):
    """The disk refused to read or write."""

    code = "storage"
