// dlib training LeNet-5 on random pictures of 28 x 28, with Adam: one JSON line. dlib has no loader of its own; batches are
// gathered here in a new order every epoch, as the others do.
//
//     g++ -O3 -march=native dlib_lenet.cpp -ldlib -lopenblas -o dlib_lenet;  dlib_lenet [BATCH] [SECONDS]
#include <dlib/dnn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <vector>

using namespace dlib;
using picture = matrix<unsigned char>;
using lenet5 = loss_multiclass_log<fc<10, relu<fc<84, relu<fc<120, max_pool<2, 2, 2, 2, relu<con<16, 5, 5, 1, 1,
    max_pool<2, 2, 2, 2, relu<add_layer<con_<6, 5, 5, 1, 1, 2, 2>, input<picture>>>>>>>>>>>>>;

static double seconds()
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int main(int argc, char **argv)
{
    const size_t batch = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 64, count = 60000 / batch * batch;
    const double limit = argc > 2 ? std::atof(argv[2]) : 3;
    std::mt19937 random(1);
    std::vector<picture> pictures(count);
    std::vector<unsigned long> labels(count);
    for (size_t i = 0; i < count; i++) {
        pictures[i].set_size(28, 28);
        for (auto &pixel : pictures[i])
            pixel = static_cast<unsigned char>(random());
        labels[i] = random() % 10;
    }
    std::vector<size_t> order(count);
    std::iota(order.begin(), order.end(), size_t(0));
    lenet5 net;
    dnn_trainer<lenet5, adam> trainer(net, adam(0, 0.9, 0.999));
    trainer.set_learning_rate(1e-3);
    trainer.set_synchronization_file("");
    std::vector<picture> x(batch);
    std::vector<unsigned long> y(batch);
    size_t at = count;
    auto step = [&] {
        if (at >= count) {
            std::shuffle(order.begin(), order.end(), random);
            at = 0;
        }
        for (size_t i = 0; i < batch; i++, at++) {
            x[i] = pictures[order[at]];
            y[i] = labels[order[at]];
        }
        trainer.train_one_step(x, y);
    };
    std::vector<double> times;
    step();
    for (double start = seconds(); times.size() < 3 || seconds() - start < limit;) {
        double begin = seconds();
        int steps = 0;
        do {
            step();
            steps++;
        } while (seconds() - begin < 0.05);
        times.push_back((seconds() - begin) / steps);
    }
    trainer.get_net();
    std::sort(times.begin(), times.end());
    double median = times[times.size() / 2];
    std::printf("{\"peer\": \"dlib\", \"model\": \"lenet5\", \"batch\": %zu, \"seconds\": %.6g, "
                "\"seconds_low\": %.6g, \"seconds_high\": %.6g, \"samples\": %zu, \"images_per_s\": %.6g}\n",
                batch, median, times[times.size() / 10],
                times[times.size() - 1 - times.size() / 10], times.size(), static_cast<double>(batch) / median);
}
