/* The models, one row each, in the order in which they are listed. Include with PLUMB_MODEL(name) defined; the constant
 * is plumb_model_<name>, in src/nn/<family>.c. */
PLUMB_MODEL(logistic)
PLUMB_MODEL(mlp)
PLUMB_MODEL(lenet5)
PLUMB_MODEL(lenet5_classic)
PLUMB_MODEL(lenet5_teaching)
PLUMB_MODEL(resnet8_cifar)
PLUMB_MODEL(resnet20_cifar)
PLUMB_MODEL(resnet18_cifar)
