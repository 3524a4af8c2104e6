// The activations of the published model, by number (activation.h).
#ifndef SHADERS_LIB_ACTIVATION_GLSL
#define SHADERS_LIB_ACTIVATION_GLSL

#include "activation.h"

// erf by Abramowitz and Stegun 7.1.26's form would be good to 1.5e-7 in exact
// arithmetic but loses digits near zero; this is the rational form of W. J. Cody,
// "Rational Chebyshev approximation for the error function" (1969), region
// |x| < 0.5, and 7.1.26 beyond it: absolute error below 3e-7 in f32.
float erf_f32(float x)
{
    const float a = abs(x);
    if (a < 0.5) {
        const float z = x * x;
        const float n = 3.209377589138469472562e3 + z * (3.774852376853020208137e2 +
                        z * (1.138641541510501556495e2 + z * (3.161123743870565596947 +
                        z * 1.857777061846031526730e-1)));
        const float d = 2.844236833439170622273e3 + z * (1.282616526077372275645e3 +
                        z * (2.440246379344441733056e2 + z * (2.360129095234412093499e1 + z)));
        return x * n / d;
    }
    const float t = 1.0 / (1.0 + 0.3275911 * a);
    const float p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 +
                    t * (-1.453152027 + t * 1.061405429))));
    const float r = 1.0 - p * exp(-a * a);
    return x < 0.0 ? -r : r;
}

float activate(uint kind, float x)
{
    if (kind == ACTIVATION_QUICKGELU)
        return x / (1.0 + exp(-1.702 * x));
    if (kind == ACTIVATION_GELU)
        return 0.5 * x * (1.0 + erf_f32(x * 0.70710678118654752));
    if (kind == ACTIVATION_ELU) // exp(x) - 1 cancels near zero: its series there
        return x > 0.0 ? x : (x > -0.03 ? x * (1.0 + x * (0.5 + x * (0.16666667 + x * 0.04166667)))
                                        : exp(x) - 1.0);
    return x;
}

#endif
