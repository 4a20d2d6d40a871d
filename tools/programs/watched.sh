#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# watched.sh FOLDER: what inotifywait tells of files there: one that is written while it watches, one that a
# program began to write before, and one that a program reads.
set -eu
folder=$1
rm -rf "$folder" /tmp/watched
mkdir "$folder" /tmp/watched
cd /tmp/watched
# until_true COMMAND...: at most a minute.
until_true() { timeout 60 sh -c 'until "$@" 2>/dev/null; do sleep 0.1; done' - "$@"; }

cat >writer.py <<'P'
import os, sys, time
def wait(name):
    while not os.path.exists(name): time.sleep(0.1)
log = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.write(log, b"before\n"); os.write(log, b"before\n")
open("written", "w"); wait("watching")
os.write(log, b"after\n")
open("again", "w"); wait("heard")
print(os.pread(log, 100, 0).decode(), end="")
P
python3 writer.py "$folder/log" &
writer=$!
until_true test -e written
inotifywait -m -e modify,access,close_write --format '%e %f' "$folder" >events 2>started &
watcher=$!
until_true grep -q established started
touch watching
until_true grep -q 'MODIFY log' events && echo "told while it is written"
until_true test -e again
touch heard
wait $writer
until_true grep -q 'CLOSE_WRITE,CLOSE log' events
dd if=/share/random of="$folder/copy" bs=64k count=4 status=none
until_true grep -q 'CLOSE_WRITE,CLOSE copy' events
sha256sum "$folder/copy" | cut -c1-64
until_true grep -q 'ACCESS copy' events
kill $watcher
uniq events
