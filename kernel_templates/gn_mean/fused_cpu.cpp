#include <cmath>
#ifndef ACCUMULATORS
#define ACCUMULATORS 4
#endif
extern "C" const char* tuner_error(int) { return "failed"; }
extern "C" int gn_mean(const float* y, const float* w, const float* b, float* out, long long n, long long c,
                       long long s, long long g, double eps, void*) {
  long long per = c / g;
  for (long long i = 0; i < n; i++) {
    double total = 0;
    for (long long j = 0; j < g; j++) {
      const float* p = y + (i * c + j * per) * s;
      double sum = 0, sq = 0;
      for (long long k = 0; k < per * s; k++) sum += p[k];
      double mu = sum / (per * s);
      for (long long k = 0; k < per * s; k++) sq += (p[k] - mu) * (p[k] - mu);
      double rstd = 1 / std::sqrt(sq / (per * s) + eps);
      for (long long ch = 0; ch < per; ch++) {
        double cs = 0;
        for (long long k = 0; k < s; k++) cs += p[ch * s + k];
        total += w[j * per + ch] * (cs / s - mu) * rstd + b[j * per + ch];
      }
    }
    out[i] = total / c;
  }
  return 0;
}
