// Selective prediction: how wrong are the answers if only the surest are given?
#pragma once

#include "ekd/metrics/top1.h"

namespace ekd {

// Area under the risk-coverage curve (El-Yaniv and Wiener, JMLR 2010; Geifman and El-Yaniv, NeurIPS 2017): samples by
// descending confidence, risk at coverage i/n = share of errors among the first i; the trapezoid rule from 1/n to 1,
// divided by 1 − 1/n. A threshold on the confidence takes equals all at once; between, each of them counts their mean
// error, so the samples' order does not matter. With one sample: its error. Throws c10::Error without any.
double area_under_risk_coverage(const Top1& samples);

}  // namespace ekd
