/* Losses of pairs against PyTorch's autograd in float64 and against finite differences. */
#include "lib/preference.h"

#include <math.h>

#include "lib/test.h"

/* torch 2.15.0, x.backward() of -(1-e) logsigmoid(beta (p-q)) - e logsigmoid(-beta (p-q)) and the others of
 * preference.h, float64: loss, gradient by the chosen and by the rejected */
static const struct {
	double beta_smoothing[2], ratio[2], want[3];
} dpo_case[] = {{{0.1, 0}, {1.25, -2.5}, {0.52312326413984012, -0.040733340004593027, 0.040733340004593027}},
                {{0.5, 0}, {-3, 4}, {3.5297504182726205, -0.48534388462432182, 0.48534388462432182}},
                {{0.3, 0.1}, {2, 7.5}, {1.6606744374149323, -0.22166731512702439, 0.22166731512702439}},
                {{1, 0}, {-900, 300}, {1200, -1, 1}},
                {{1, 0}, {900, -300}, {0, 0, 0}},
                {{2, 0.25}, {0.125, 0.0625}, {0.6638490353171691, -0.43758125325248753, 0.43758125325248753}}};
static const struct {
	double beta, ratio[2];
	int64_t n[2];
	double want[3];
} ipo_case[] = {{0.1, {1.25, -2.5}, {3, 7}, {17.860685941043084, -2.8174603174603177, 1.207482993197279}},
                {0.5, {-3, 4}, {5, 2}, {12.96, -1.44, 3.6}}};
static const struct {
	double score[2], margin, center, want[3];
} reward_case[] = {{{1.5, -0.25}, 0, 0, {0.16022415043808722, -0.14804719803168948, 0.14804719803168948}},
                   {{0.5, 2}, 1, 0, {2.5788897342925496, -0.92414181997875644, 0.92414181997875644}},
                   {{0.5, 2}, 0.5, 0.01, {2.1894280110429727, -0.83079707797788238, 0.93079707797788247}},
                   {{-800, 100}, 0, 0, {900, -1, 1}}};

static void near(double loss, const double gradient[2], const double want[3])
{
	CHECK_NEAR(loss, want[0], 1e-14 * (1 + fabs(want[0])));
	CHECK_NEAR(gradient[CHOSEN], want[1], 1e-14);
	CHECK_NEAR(gradient[REJECTED], want[2], 1e-14);
}

int main(void)
{
	double g[2], unused[2];
	const int64_t some[] = {4, 9};

	test_case("preference: dpo, with and without label smoothing, as PyTorch");
	for (size_t i = 0; i < sizeof dpo_case / sizeof *dpo_case; i++) {
		struct preference_config c = {PREFERENCE_DPO, dpo_case[i].beta_smoothing[0],
		                              dpo_case[i].beta_smoothing[1]};
		double loss = preference_loss(&c, dpo_case[i].ratio, some, g);
		near(loss, g, dpo_case[i].want);
	}

	test_case("preference: ipo, means over tokens, as PyTorch");
	for (size_t i = 0; i < sizeof ipo_case / sizeof *ipo_case; i++) {
		struct preference_config c = {PREFERENCE_IPO, ipo_case[i].beta, 0};
		double loss = preference_loss(&c, ipo_case[i].ratio, ipo_case[i].n, g);
		near(loss, g, ipo_case[i].want);
	}

	test_case("preference: Bradley-Terry, with margin and centring, as PyTorch");
	for (size_t i = 0; i < sizeof reward_case / sizeof *reward_case; i++) {
		double loss =
		        preference_bradley_terry(reward_case[i].score, reward_case[i].margin, reward_case[i].center, g);
		near(loss, g, reward_case[i].want);
	}

	test_case("preference: gradients are finite differences");
	for (int kind = PREFERENCE_DPO; kind <= PREFERENCE_IPO; kind++)
		for (double at = -3; at <= 3; at += .5) {
			struct preference_config c = {kind, .7, kind == PREFERENCE_DPO ? .2 : 0};
			preference_loss(&c, (double[]){at, 1.5}, some, g);
			for (int side = CHOSEN; side <= REJECTED; side++) {
				double up[] = {at, 1.5}, down[] = {at, 1.5}, h = 1e-5;
				up[side] += h;
				down[side] -= h;
				double by =
				        preference_loss(&c, up, some, unused) - preference_loss(&c, down, some, unused);
				CHECK_NEAR(g[side], by / (2 * h), 1e-9);
			}
		}
	return test_done();
}
