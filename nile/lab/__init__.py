"""Labs: clusters on one machine, for trying Nile, and for every test and benchmark that needs hosts."""

from nile.lab.handle import HostStatus, Lab, directory_of, down
from nile.lab.spec import BackendName, LabSpec

__all__ = ["BackendName", "HostStatus", "Lab", "LabSpec", "directory_of", "down"]
