#ifndef CFDT_SHIM_H
#define CFDT_SHIM_H
#include <libfdt.h>
#endif
