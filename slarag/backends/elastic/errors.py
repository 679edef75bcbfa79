"""What the elastic server raises on purpose.

SlaragError
├── ConfigurationError
│   ├── CheckpointError      a model folder that cannot be served
│   └── RequestError         a request that cannot be served
└── RunError
    └── ElasticError
        ├── DeviceMemoryError    an allocation beyond a device's capacity
        ├── MemoryServiceError   the memory manager refused or is gone
        ├── WorkerGoneError      a worker ended before it answered
        ├── ResizeError          a resize was refused or rolled back
        └── BusyError            too many requests wait, or the pool is shutting down
"""

from __future__ import annotations

from ...sla.errors import ConfigurationError, RunError


class CheckpointError(ConfigurationError):
    """A model folder that cannot be served."""

    code = "checkpoint"


class ElasticError(RunError):
    """The elastic server failed."""

    code = "elastic"


class DeviceMemoryError(ElasticError):
    """An allocation beyond a device's capacity; nothing was allocated."""

    code = "device_memory"


class MemoryServiceError(ElasticError):
    """The memory manager refused a call, or is gone."""

    code = "memory_service"


class WorkerGoneError(ElasticError):
    """A worker's process ended or was fenced before it answered."""

    code = "worker_gone"


class ResizeError(ElasticError):
    """A resize that was refused or rolled back; the pool serves at its old size."""

    code = "resize"


class BusyError(ElasticError):
    """Too many requests wait, or the pool is shutting down."""

    code = "busy"


class RequestError(ConfigurationError):
    """A request that cannot be served as it is; `details["param"]` names the field."""

    code = "request"
