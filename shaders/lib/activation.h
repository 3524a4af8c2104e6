// Activations, as shaders and their callers number them.
#ifndef SHADERS_LIB_ACTIVATION_H
#define SHADERS_LIB_ACTIVATION_H

#define ACTIVATION_NONE 0
#define ACTIVATION_QUICKGELU 1 // x * sigmoid(1.702 x)
#define ACTIVATION_GELU 2      // x / 2 * (1 + erf(x / sqrt(2)))
#define ACTIVATION_ELU 3       // x > 0 ? x : exp(x) - 1

#endif
