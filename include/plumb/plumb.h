/* Plumb: the one header to include. A program describes a computation as a graph, compiles it with a state into a
 * program, and runs that: see README for an example. */
#ifndef PLUMB_PLUMB_H
#define PLUMB_PLUMB_H

#include "plumb/base.h"
#include "plumb/check.h"
#include "plumb/context.h"
#include "plumb/data.h"
#include "plumb/graph.h"
#include "plumb/layers.h"
#include "plumb/metrics.h"
#include "plumb/ops.h"
#include "plumb/optim.h"
#include "plumb/program.h"
#include "plumb/report.h"
#include "plumb/search.h"
#include "plumb/state.h"
#include "plumb/train.h"

#endif
