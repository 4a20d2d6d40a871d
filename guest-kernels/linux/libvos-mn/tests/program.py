# SPDX-License-Identifier: Apache-2.0
# Threads of many kinds in an interpreter that knows nothing of libvos-mn.
import concurrent.futures, hashlib, os, queue, signal, socket, sqlite3, subprocess, tempfile
import threading, time

Pool = concurrent.futures.ThreadPoolExecutor


def all_of(threads):
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def digest(number):
    whole = hashlib.sha256()
    for _ in range(200):
        whole.update(bytes([number & 255]) * 997)
    return whole.hexdigest()


with Pool(64) as pool:
    print(hashlib.sha256("".join(pool.map(digest, range(300))).encode()).hexdigest())

work, found = queue.Queue(10), []


def consume():
    while (item := work.get()) is not None:
        found.append(item)


threads = [threading.Thread(target=consume) for _ in range(20)]
for thread in threads:
    thread.start()
for item in list(range(3000)) + [None] * 20:
    work.put(item)
for thread in threads:
    thread.join()
print(sum(found), len(found))

event = threading.Event()
print(event.wait(0.02))
threading.Timer(0.02, event.set).start()
print(event.wait(5))

barrier, places = threading.Barrier(30), []
all_of([threading.Thread(target=lambda: places.append(barrier.wait())) for _ in range(30)])
print(sorted(places) == list(range(30)))

listener = socket.create_server(("127.0.0.1", 0))


def answer(connection):
    connection.sendall(connection.recv(100)[::-1] * 5000)
    connection.close()


def serve():
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


threading.Thread(target=serve, daemon=True).start()


def ask(number):
    connection = socket.create_connection(listener.getsockname(), timeout=10)
    connection.sendall(b"question %d" % number)
    length = 0
    while piece := connection.recv(65536):
        length += len(piece)
    return length


with Pool(50) as pool:
    print(sum(pool.map(ask, range(200))))

folder = tempfile.mkdtemp()
name = os.path.join(folder, "base")


def insert(number):
    base = sqlite3.connect(name, timeout=30)
    base.execute("create table if not exists t(x)")
    for k in range(10):
        with base:
            base.execute("insert into t values(?)", (number * 100 + k,))
    base.close()


with Pool(8) as pool:
    list(pool.map(insert, range(8)))
print(sqlite3.connect(name).execute("select count(*), sum(x) from t").fetchall())
os.unlink(name)
os.rmdir(folder)


def run(number):
    done = subprocess.run(["sh", "-c", f"echo {number}; exit {number % 3}"], capture_output=True)
    return done.stdout, done.returncode


with Pool(16) as pool:
    print(list(pool.map(run, range(20)))[-3:])

heard = []
signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
os.kill(os.getpid(), signal.SIGUSR1)
while not heard:
    time.sleep(0.01)
print(heard)
