// What an LSTM's cell makes of its gates, in the order i, f, g, o:
//   c' = sigmoid(f) c + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(c')
#ifndef SHADERS_LIB_LSTM_CELL_GLSL
#define SHADERS_LIB_LSTM_CELL_GLSL

float sigmoid(float x)
{
    return 1.0 / (1.0 + exp(-x));
}

// exp() may overflow to infinity: the limits come out right.
float tanh_of(float x)
{
    return 1.0 - 2.0 / (exp(2.0 * x) + 1.0);
}

// (c', h)
vec2 lstm_cell(vec4 gates, float c)
{
    c = sigmoid(gates.y) * c + sigmoid(gates.x) * tanh_of(gates.z);
    return vec2(c, sigmoid(gates.w) * tanh_of(c));
}

#endif
