/* FANN training a perceptron of 784-128-10 on random pictures: one JSON line. FANN knows no batches but all of the data
 * (RPROP, "batch") and single examples ("incremental", plain gradient descent), which is what is timed; it is one thread.
 *
 *     cc -O3 fann_mlp.c -lfann -lm -o fann_mlp;  fann_mlp [SECONDS] */
#include <fann.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { COUNT = 4096, INPUTS = 784, HIDDEN = 128, CLASSES = 10, SAMPLES = 1000 };

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    double limit = argc > 1 ? atof(argv[1]) : 3, times[SAMPLES];
    fann_type *x = malloc(sizeof(fann_type) * COUNT * INPUTS), *y = calloc(COUNT * CLASSES, sizeof(fann_type));
    struct fann *net = fann_create_standard(3, INPUTS, HIDDEN, CLASSES);
    int n = 0, at = 0;
    if (!x || !y || !net) {
        return 1;
    }
    srand(1);
    for (int i = 0; i < COUNT * INPUTS; i++) {
        x[i] = (fann_type)rand() / (fann_type)RAND_MAX;
    }
    for (int i = 0; i < COUNT; i++) {
        y[i * CLASSES + rand() % CLASSES] = 1;
    }
    fann_set_activation_function_hidden(net, FANN_LINEAR_PIECE);
    fann_set_activation_function_output(net, FANN_SIGMOID);
    fann_set_training_algorithm(net, FANN_TRAIN_INCREMENTAL);
    fann_set_learning_rate(net, 0.01f);
    for (double start = seconds(); n < SAMPLES && (n < 3 || seconds() - start < limit); n++) {
        double begin = seconds();
        int steps = 0;
        for (; steps < 64 || seconds() - begin < 0.05; steps++, at = (at + 1597) % COUNT) {
            fann_train(net, x + at * INPUTS, y + at * CLASSES);
        }
        times[n] = (seconds() - begin) / steps;
    }
    qsort(times, (size_t)n, sizeof(double), compare);
    printf("{\"peer\": \"FANN\", \"model\": \"mlp\", \"batch\": 1, \"seconds\": %.6g, \"seconds_low\": %.6g, "
           "\"seconds_high\": %.6g, \"samples\": %d, \"images_per_s\": %.6g}\n",
           times[n / 2], times[n / 10], times[n - 1 - n / 10], n, 1 / times[n / 2]);
    fann_destroy(net);
    free(x);
    free(y);
    return 0;
}
