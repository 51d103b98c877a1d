"""Joins meshes in one process, as the supervisor joins those of its workers."""

from __future__ import annotations

import socket

from gateway.cluster.peer import Mesh

__all__ = ["join"]


async def join(*meshes: Mesh) -> None:
    """Make each two of the meshes peers."""
    for number, one in enumerate(meshes):
        for other in meshes[number + 1 :]:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            passing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            await one.join(other.tag, ours, passing[0])
            await other.join(one.tag, theirs, passing[1])
