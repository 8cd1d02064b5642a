// Routes by router.h what comes on the input, one expert after the other: the choice, the scores and the
// weights that the kernels make of the same functions, without any warp. For each case: a head, then
// bias[experts], forced[top_k] and logits[experts]. Writes ids[top_k], weights[top_k] and scores[experts].

#include <stdio.h>
#include <stdlib.h>

#include "../kernels.h"
#include "../router.h"

typedef struct Head {
    uint32_t experts, top_k, groups, top_groups, scoring, norm, has_bias, has_forced;
    float p_norm, inverse_p_high, inverse_p_low, scale;
} Head;

static float logits[ROUTER_MAX_EXPERTS], bias[ROUTER_MAX_EXPERTS], scores[ROUTER_MAX_EXPERTS];
static uint32_t keys[ROUTER_MAX_EXPERTS];  // of the choice; 0: not to be chosen, or no more
static int32_t ids[ROUTER_MAX_TOP_K];
static float weights[ROUTER_MAX_TOP_K];

static void take(void *data, size_t bytes) {
    if (fread(data, 1, bytes, stdin) != bytes) {
        exit(1);
    }
}

// The place of the largest key, the lowest of several.
static uint32_t best_of(const uint32_t *of, uint32_t count) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; ++i) {
        best = of[i] > of[best] ? i : best;
    }
    return best;
}

static uint32_t key_of_group(const Head *head, uint32_t first_member, uint32_t size) {
    int sigmoid = head->scoring == ROUTER_SIGMOID;
    uint32_t first = 0, second = 0;
    for (uint32_t member = first_member; member < first_member + size; ++member) {
        uint32_t key = keys[member];
        if (sigmoid && !head->has_bias) {
            key = expertile_router_key(expertile_router_sigmoid(logits[member]));
        }
        uint32_t lesser = key < first ? key : first;
        second = lesser > second ? lesser : second;
        first = key > first ? key : first;
    }
    if (!sigmoid || size == 1) {
        return first;
    }
    return expertile_router_key(expertile_router_value(first) + expertile_router_value(second));
}

static void keep_groups(const Head *head) {
    uint32_t size = head->experts / head->groups;
    uint32_t of_groups[ROUTER_MAX_GROUPS], admitted[ROUTER_MAX_GROUPS] = {0};
    for (uint32_t group = 0; group < head->groups; ++group) {
        of_groups[group] = key_of_group(head, group * size, size);
    }
    for (uint32_t round = 0; round < head->top_groups; ++round) {
        uint32_t best = best_of(of_groups, head->groups);
        admitted[best] = 1;
        of_groups[best] = 0;
    }
    for (uint32_t expert = 0; expert < head->experts; ++expert) {
        keys[expert] = admitted[expert / size] ? keys[expert] : 0;
    }
}

static void score(const Head *head) {
    uint32_t largest_key = 0;
    for (uint32_t expert = 0; expert < head->experts; ++expert) {
        keys[expert] = expertile_router_key(logits[expert]);
        largest_key = keys[expert] > largest_key ? keys[expert] : largest_key;
    }
    float largest = expertile_router_value(expertile_router_in_row(largest_key, largest_key));
    uint64_t sum = 0;
    for (uint32_t expert = 0; expert < head->experts; ++expert) {
        if (head->scoring == ROUTER_SOFTMAX) {
            keys[expert] = expertile_router_in_row(keys[expert], largest_key);
        }
        logits[expert] = expertile_router_value(keys[expert]);
        if (head->scoring == ROUTER_SIGMOID) {
            scores[expert] = expertile_router_sigmoid(logits[expert]);
        } else {
            scores[expert] = expertile_router_exp(expertile_router_difference(logits[expert], largest));
            sum += expertile_router_fixed(scores[expert]);
        }
    }
    for (uint32_t expert = 0; expert < head->experts; ++expert) {
        if (head->scoring == ROUTER_SOFTMAX) {
            scores[expert] = scores[expert] / expertile_router_from_fixed(sum);
        }
        if (head->has_bias) {
            keys[expert] = expertile_router_key(scores[expert] + bias[expert]);
        }
    }
}

// The sum of what is from 0 to 2, and the same in all slots that are not valid.
static float total(const Head *head, const float *powers) {
    uint64_t sum = 0;
    for (uint32_t slot = 0; slot < head->top_k; ++slot) {
        if ((uint32_t)ids[slot] < head->experts) {
            sum += expertile_router_fixed(powers[slot]);
        }
    }
    return expertile_router_from_fixed(sum);
}

static void weigh(const Head *head) {
    uint32_t largest_key = 0;
    for (uint32_t slot = 0; slot < head->top_k; ++slot) {
        if ((uint32_t)ids[slot] < head->experts) {
            uint32_t key = expertile_router_key(logits[ids[slot]]);
            largest_key = key > largest_key ? key : largest_key;
        }
    }
    float largest = expertile_router_value(largest_key);
    RouterSum relative[ROUTER_MAX_TOP_K];
    float powers[ROUTER_MAX_TOP_K], of_p[ROUTER_MAX_TOP_K];
    RouterSum exponent = {head->p_norm, 0.0f};
    for (uint32_t slot = 0; slot < head->top_k; ++slot) {
        weights[slot] = 0.0f;
        if ((uint32_t)ids[slot] >= head->experts) {
            continue;
        }
        float logit = logits[ids[slot]];
        if (head->scoring == ROUTER_SIGMOID) {
            powers[slot] = largest > 0.0f ? expertile_router_sigmoid(logit)
                                          : expertile_router_sigmoid_in_row(logit, largest);
            continue;
        }
        relative[slot].high = relative[slot].low = 0.0f;
        if (logit != largest) {
            relative[slot] = expertile_router_difference(logit, largest);
        }
        powers[slot] = expertile_router_exp(relative[slot]);
        of_p[slot] = expertile_router_exp(expertile_router_times(relative[slot], exponent));
    }
    RouterSum norm = {0.0f, 0.0f};
    if (head->norm == ROUTER_NORM_POWER && total(head, of_p) >= 1.0f) {
        RouterSum inverse = {head->inverse_p_high, head->inverse_p_low};
        norm = expertile_router_times(expertile_router_log(total(head, of_p)), inverse);
    }
    for (uint32_t slot = 0; slot < head->top_k; ++slot) {
        if ((uint32_t)ids[slot] >= head->experts) {
            continue;
        }
        switch (head->norm) {
            case ROUTER_NORM_NONE: weights[slot] = scores[ids[slot]]; break;
            case ROUTER_NORM_LARGEST: weights[slot] = powers[slot]; break;
            case ROUTER_NORM_SUM: weights[slot] = powers[slot] / total(head, powers); break;
            default: {
                RouterSum divided = expertile_router_difference(relative[slot].high, norm.high);
                divided.low = (relative[slot].low + divided.low) - norm.low;
                weights[slot] = expertile_router_exp(divided);
            }
        }
        weights[slot] *= head->scale;
    }
}

int main(void) {
    Head head;
    while (fread(&head, sizeof head, 1, stdin) == 1) {
        take(bias, 4 * head.experts);
        take(ids, 4 * head.top_k);
        take(logits, 4 * head.experts);
        score(&head);
        if (head.top_groups < head.groups) {
            keep_groups(&head);
        }
        for (uint32_t slot = 0; slot < head.top_k && !head.has_forced; ++slot) {
            uint32_t best = best_of(keys, head.experts);
            ids[slot] = (int32_t)best;
            keys[best] = 0;
        }
        weigh(&head);
        fwrite(ids, 4, head.top_k, stdout);
        fwrite(weights, 4, head.top_k, stdout);
        fwrite(scores, 4, head.experts, stdout);
    }
    return ferror(stdin) || fflush(stdout);
}
