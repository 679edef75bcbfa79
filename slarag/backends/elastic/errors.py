"""What the elastic server raises on purpose.

SlaragError
├── ConfigurationError
│   └── CheckpointError      a model folder that cannot be served
└── RunError
    └── ElasticError
        ├── DeviceMemoryError    an allocation beyond a device's capacity
        └── MemoryServiceError   the memory manager refused or is gone
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
