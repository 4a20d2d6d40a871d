#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""server.py FOLDER: the host's part of one channel, for two QEMU guests.

Speaks QEMU's ivshmem protocol on FOLDER/client.sock and FOLDER/service.sock, makes the region and
says in its superblock who lives.
"""
import mmap
import os
import selectors
import socket
import struct
import sys

FOLDER = sys.argv[1]
REGION = 32 << 20
SLICES, SLOTS, EVENTS = 16, 32, 256
TABLE, RING, FIRST_SLICE, STRIDE = 0x3000, 0x4000, 0x10000, 1 << 20
SLOTS_OFFSET, ARENA_OFFSET = 4096, 8192
# Offsets within struct vos_superblock, by peer.
LIFE, GENERATION = {0: 88, 1: 92}, {0: 96, 1: 100}
CARRIES_SOCKETS, ALIVE, FAILED = 2, 1, 2

memory = os.memfd_create("region")
os.ftruncate(memory, REGION)
region = mmap.mmap(memory, REGION)
region[0:168] = struct.pack(
    "<QIIQIIQQIIQQIIIIIIII64s", 0x314E414843534F56, 1, 1, REGION, CARRIES_SOCKETS, SLICES, TABLE,
    RING, EVENTS, SLOTS, FIRST_SLICE, STRIDE, SLOTS_OFFSET, ARENA_OFFSET, STRIDE - ARENA_OFFSET,
    0, 0, 0, 0, 0, b"network")

bells = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(3)]
selector = selectors.DefaultSelector()
peers = {}


def word(offset, value):
    struct.pack_into("<I", region, offset, value)


def tell(connection, number, descriptor=None):
    data = struct.pack("<q", number)
    if descriptor is None:
        connection.sendall(data)
    else:
        socket.send_fds(connection, [data], [descriptor])


def join(listener, peer):
    connection, _ = listener.accept()
    tell(connection, 0)
    tell(connection, peer)
    tell(connection, -1, memory)
    for other in [*peers, 2]:
        tell(connection, other, bells[other])
    tell(connection, peer, bells[peer])
    for other in peers.values():
        tell(other, peer, bells[peer])
    peers[peer] = connection
    selector.register(connection, selectors.EVENT_READ, ("peer", peer))
    word(GENERATION[peer], struct.unpack_from("<I", region, GENERATION[peer])[0] + 1)
    word(LIFE[peer], ALIVE)


def leave(connection, peer):
    selector.unregister(connection)
    connection.close()
    del peers[peer]
    word(LIFE[peer], FAILED)
    for other in peers.values():
        tell(other, peer)
    os.eventfd_write(bells[1 - peer], 1)


for name, number in (("client", 0), ("service", 1)):
    entrance = socket.socket(socket.AF_UNIX)
    entrance.bind(f"{FOLDER}/{name}.sock")
    entrance.listen()
    selector.register(entrance, selectors.EVENT_READ, ("entrance", number))
print("ready", flush=True)
while True:
    for key, _ in selector.select():
        kind, number = key.data
        if kind == "entrance":
            join(key.fileobj, number)
        elif not key.fileobj.recv(64):
            leave(key.fileobj, number)
