"""The dashboard: an app of its own, to be mounted where you choose (docs/dashboard.md)."""

from cachemw.dashboard.app import Auth, Dashboard, dashboard

__all__ = ["Auth", "Dashboard", "dashboard"]
