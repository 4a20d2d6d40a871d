// SPDX-License-Identifier: Apache-2.0
//
// Exceptions, destructors and the C++ library's threads; prints the same with kernel threads and
// with libvos-mn.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <future>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#include <pthread.h>
#include <unistd.h>

static std::atomic<int> destroyed;
struct Noisy {
  ~Noisy() { destroyed++; }
};
static thread_local Noisy perThread;
static thread_local std::string text = "a text that is longer than the small buffer";

static void deep(int n) {
  Noisy here;
  if (n == 0) throw std::runtime_error(std::string("deep"));
  if (n % 3 == 0) std::this_thread::yield();
  deep(n - 1);
}

static std::once_flag flag;
static int tries;

static void *forced(void *how) {
  Noisy here;
  (void)&perThread;
  if (how) pthread_exit(nullptr);
  std::mutex m;
  std::condition_variable c;
  std::unique_lock<std::mutex> held(m);
  for (;;) c.wait(held);
}

int main() {
  std::vector<std::thread> threads;
  std::atomic<int> caught{0};
  for (int i = 0; i < 300; i++)
    threads.emplace_back([&, i] {
      (void)&perThread;
      text += std::to_string(i);
      for (int k = 0; k < 20; k++) {
        try {
          deep(10);
        } catch (const std::runtime_error &error) {
          caught += std::string(error.what()) == "deep";
        }
      }
      if (text.find(std::to_string(i)) == std::string::npos) std::printf("text lost\n");
    });
  for (auto &thread : threads) thread.join();
  std::printf("caught %d, destroyed %d\n", caught.load(), destroyed.load());

  destroyed = 0;
  pthread_t one, other;
  pthread_create(&one, nullptr, forced, &one);
  pthread_create(&other, nullptr, forced, nullptr);
  usleep(10000);
  pthread_cancel(other);
  void *result;
  pthread_join(one, &result);
  pthread_join(other, &result);
  std::printf("forced: destroyed %d, cancelled %d\n", destroyed.load(), result == PTHREAD_CANCELED);

  auto first = std::async(std::launch::async, [] { return 40; });
  auto second = std::async(std::launch::async, []() -> int { throw 2; });
  int sum = first.get();
  try {
    second.get();
  } catch (int value) {
    sum += value;
  }
  threads.clear();
  for (int i = 0; i < 8; i++)
    threads.emplace_back([&] {
      try {
        std::call_once(flag, [] {
          std::this_thread::sleep_for(std::chrono::milliseconds(2));
          if (++tries < 3) throw 1;
        });
      } catch (int) {
      }
    });
  for (auto &thread : threads) thread.join();
  std::shared_mutex shared;
  std::timed_mutex timed;
  timed.lock();
  bool got = true;
  std::thread([&] {
    std::shared_lock lock(shared);
    got = timed.try_lock_for(std::chrono::milliseconds(20));
  }).join();
  std::printf("futures %d, tries %d, timed %d\n", sum, tries, got);
}
