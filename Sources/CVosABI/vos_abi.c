#include "vos_abi.h"
#include "vos_atomic.h"
