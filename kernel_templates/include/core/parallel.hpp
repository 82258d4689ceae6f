// A parallel loop on std::thread: no OpenMP, whose second runtime beside PyTorch's would fight over the cores.
#pragma once
#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

// Calls body(begin, end) for consecutive pieces of [0, count), at most `grain` long, on up to `threads` threads.
// Whoever is free takes the next piece, so which thread does which differs from run to run: a result that shall
// not differ may depend on the piece alone. `body` must not throw.
template <class Body>
void parallel_for(long long count, long long grain, int threads, const Body& body) {
  const long long pieces = (count + grain - 1) / grain;
  std::atomic<long long> next{0};
  const auto work = [&] {
    for (long long piece = next++; piece < pieces; piece = next++) {
      body(piece * grain, std::min(count, (piece + 1) * grain));
    }
  };
  std::vector<std::thread> helpers;
  for (long long i = 1; i < std::min<long long>(threads, pieces); i++) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
}
